"""Huey: a worker is one consumer, with so many threads, child processes or greenlets, of one Huey instance: one queue.

By TERM it finishes what it has; a second TERM makes it let go of that. (Huey's own default is the other way round, and
an INT to one that is finishing changes nothing.) Whether a job outlives its worker is up to the instance's storage:
with `chaperone_async.huey.DurableHuey` it does, with any other it is lost.
"""

from typing import Annotated, ClassVar, Literal

from chaperone_async.core.spec import Rung
from chaperone_async.system.backends.protocol import Asked, Plan, Unsuited
from chaperone_async.system.backends.refusal import Advice, refuse_arguments, refuse_job_options, refuse_no_pause
from chaperone_async.system.config import units, words
from chaperone_async.system.config.keys import About, Table

WorkerType = Literal["thread", "process", "greenlet"]
_LETTING_GO = 5.0  # seconds, for one that was told to let go
_EACH_TASK = "Huey's consumer has no option for it, since each task has its own; remove it, and write"
_OF_THE_TASK = {
    "tries": f"{_EACH_TASK} @huey.task(retries=2)",
    "backoff": f"{_EACH_TASK} @huey.task(retry_delay=5, retry_backoff=2)",
    "max_exceptions": f"{_EACH_TASK} @huey.task(retries=2)",
}
_OURS: Advice = {
    ("-w", "--workers"): "write huey.workers instead",
    ("-k", "--worker-type"): "write huey.worker_type instead",
    ("-g", "--graceful-signal"): "it is TERM here, by which workers are stopped; remove it",
}


class InstancePath(words.Text):
    __slots__ = ()
    form = r"(?:[^\W\d]\w*(?:\.[^\W\d]\w*)+)?"
    why = 'does not say where a Huey instance is; write module.name such as "proj.huey"'


class HueyTable(Table):
    app: Annotated[InstancePath | None, About("the application's Huey instance: module.name", "proj.huey")] = None
    workers: Annotated[
        units.PositiveCount | None, About("jobs that one worker does at a time: its threads, or what worker_type says")
    ] = None
    worker_type: Annotated[
        WorkerType | None, About("what it does them in: thread, process, or greenlet, which needs gevent")
    ] = None
    options: Annotated[
        tuple[words.Text, ...] | None, About("further arguments of huey_consumer", ["--no-periodic"])
    ] = None


class Huey:
    name: ClassVar[str] = "huey"
    options: ClassVar[type[Table]] = HueyTable
    extra: ClassVar[str | None] = "huey"

    def plan(self, asked: Asked) -> Plan:
        options: HueyTable = asked.options
        if not options.app:
            raise Unsuited("huey.app", 'is missing; write where the Huey instance is, such as huey.app = "proj.huey"')
        if len(asked.queues) > 1:
            raise Unsuited("queue", f"{len(asked.queues)} are too many: a Huey instance has one; write a pool for each")
        refuse_job_options(asked.job, _OF_THE_TASK)
        refuse_no_pause(asked.job)
        refuse_arguments("huey.options", options.options or (), _OURS)
        kind = options.worker_type or "thread"
        return Plan(
            command=(
                asked.python, "-m", "chaperone_async.agent.huey", str(options.app),
                "-w", f"{options.workers or 1:d}", "-k", kind, "-g", "TERM",
                *_polling(asked.job.sleep), *map(str, options.options or ()),
            ),
            honours=frozenset({"sleep"}),
            reports=True,
            at_once=int(options.workers or 1),
            then=(Rung("SIGTERM", _LETTING_GO),),
            attendant="chaperone_async.attendant.huey",
            settings={"app": str(options.app)},
            can=frozenset({"backlog", "failed", "retry", "flush", "reclaim"}),
            needs=("huey", "gevent") if kind == "greenlet" else ("huey",),
        )  # fmt: skip


def _polling(sleep: float | None) -> tuple[str, ...]:
    """By default Huey looks after 0.1 s, then ever more seldom, and in the end each 10 s: too seldom for a sign of
    life, and for the first job of an idle pool."""
    if sleep is None:
        return ("--max-delay=1",)
    return (f"--delay={sleep:g}", f"--max-delay={sleep:g}")
