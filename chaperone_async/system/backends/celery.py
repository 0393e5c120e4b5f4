"""Celery: `celery worker`, at whichever broker the application uses.

By TERM it finishes its jobs. By QUIT after that it gives back those that are acknowledged late, and drops the others:
only prefork can, for only there a job can be taken from who runs it.
"""

from typing import Annotated, ClassVar, Literal

from chaperone_async.core.spec import Rung
from chaperone_async.system.backends.protocol import Asked, Plan, Unsuited
from chaperone_async.system.backends.refusal import refuse_arguments, refuse_job_options
from chaperone_async.system.config import units, words
from chaperone_async.system.config.keys import About, Table

PoolKind = Literal["prefork", "threads", "solo", "gevent", "eventlet"]
MAX_DEATHS = 3
_AGENT = "chaperone_async.agent.celery"
_COLD = Rung("SIGQUIT", 5.0)
_BY_THE_TASK = {
    "tries": "a task says so itself; remove it, and write @app.task(autoretry_for=(OSError,), max_retries=3)",
    "backoff": "a task says so itself; remove it, and write @app.task(autoretry_for=(OSError,), retry_backoff=5)",
    "max_exceptions": "Celery does not count them; remove it, and write @app.task(max_retries=3)",
    "sleep": "a Celery worker does not look for jobs, it is handed them; remove it",
}
_OURS = {
    ("-Q", "--queues"): "write the pool's queue instead",
    ("-n", "--hostname"): "a worker's name is its id here, by which its jobs are found when it dies",
    ("-P", "--pool"): "write celery.pool instead",
    ("-c", "--concurrency"): "write celery.concurrency instead",
    ("-I", "--include"): "of two only the last counts; write app.conf.include in the application instead",
    ("--time-limit",): "write job.timeout instead",
    ("--purge", "--discard"): "each worker that starts would empty the queue",
    ("-B", "--beat"): 'each worker would send all that is scheduled; give it a pool: command = "celery -A proj beat"',
    ("-D", "--detach"): "a worker that leaves cannot be looked after",
}


class CeleryTable(Table):
    app: Annotated[words.Text | None, About("the application, as celery -A takes it", "proj.app")] = None
    pool: Annotated[
        PoolKind | None,
        About("how a worker runs its jobs: prefork if not said, which alone keeps to the time limits of tasks"),
    ] = None
    concurrency: Annotated[units.PositiveCount | None, About("jobs that one worker runs at a time", 1)] = None
    max_deaths: Annotated[
        units.Count | None,
        About("on Redis: a job whose worker dies goes back at once, until it has cost so many: then later; 0: always"),
    ] = None
    options: Annotated[
        tuple[words.Text, ...] | None, About("further arguments of celery worker", ["--prefetch-multiplier=1"])
    ] = None


class Celery:
    name: ClassVar[str] = "celery"
    options: ClassVar[type[Table]] = CeleryTable
    extra: ClassVar[str | None] = "celery"

    def plan(self, asked: Asked) -> Plan:
        table: CeleryTable = asked.options
        kind, jobs = table.pool or "prefork", int(table.concurrency or 1)
        further = tuple(str(option) for option in table.options or ())
        if not table.app:
            raise Unsuited("celery.app", 'is missing; write one such as app = "proj.app", as celery -A takes it')
        if kind == "solo" and jobs > 1:
            raise Unsuited("celery.concurrency", f'{jobs} does not go with pool = "solo"; write 1, or pool = "threads"')
        refuse_job_options(asked.job, _BY_THE_TASK)
        refuse_arguments("celery.options", further, _OURS)
        limit = ("--time-limit={timeout}",) if asked.job.timeout and kind == "prefork" else ()
        return Plan(
            command=(
                asked.python, "-m", "celery", "--quiet", "-A", str(table.app), "worker", "-Q", "{queue}",
                "-n", "{worker_id}@%h", "-P", _spelled(kind), "-c", str(jobs), "--include", _AGENT,
                "--without-gossip", "--without-mingle", *limit, *further,
            ),
            honours=frozenset({"timeout"} if limit else ()),
            reports=True,
            beats=kind != "solo",
            at_once=jobs,
            then=(_COLD,) if kind == "prefork" else (),
            # Here a signal is heard while jobs run, and acted on by a loop that runs none itself.
            pause_signal="SIGUSR2" if kind in {"prefork", "threads"} else None,
            attendant="chaperone_async.attendant.celery",
            settings={
                "app": str(table.app), "max_deaths": MAX_DEATHS if table.max_deaths is None else int(table.max_deaths),
            },
            can=frozenset({"backlog", "reclaim"}),
            keeps_failed=False,
            needs=("celery",),
        )  # fmt: skip


def _spelled(kind: PoolKind) -> str:
    """The word prefork, but not its synonym, would give way to a worker_pool of the application's."""
    return "processes" if kind == "prefork" else kind
