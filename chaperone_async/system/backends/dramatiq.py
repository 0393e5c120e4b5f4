"""Dramatiq: a worker is a main process with `processes` children of `threads` threads each; on Redis or RabbitMQ, as
the application's broker says.

By TERM it finishes its jobs, however long they take: how long they may is the supervisor's to say. By a second one it
drops them, and so it does when the signal reaches its children too: it goes to the main process.
"""

import re
from typing import Annotated, ClassVar

from chaperone_async.core.spec import Rung
from chaperone_async.system.backends.protocol import Asked, Plan, Unsuited
from chaperone_async.system.backends.refusal import Advice, refuse_arguments, refuse_job_options
from chaperone_async.system.config import units, words
from chaperone_async.system.config.keys import About, Table

MAX_DEATHS = 3
_AGENT = "chaperone_async.agent.dramatiq"
_LETTING_GO = 2.0  # seconds, for one that was told to drop its jobs
_PATIENCE = 7 * 86_400.0  # seconds; then it would drop them by itself
_SHORTER = 60.0  # seconds, at least
_NO_ORDER = "the order of its queues means nothing to Dramatiq: its workers take from all of them alike"
_OF_THE_ACTOR = {
    "tries": "each of Dramatiq's actors has its own; write @dramatiq.actor(max_retries=2), and remove it",
    "backoff": "each of Dramatiq's actors has its own; write @dramatiq.actor(min_backoff=1000), and remove it",
    "max_exceptions": "each of Dramatiq's actors has its own; write @dramatiq.actor(max_retries=2), and remove it",
    "sleep": "a Dramatiq worker finds its own pace; remove it, or write env.dramatiq_worker_timeout, in milliseconds",
}
_OURS: Advice = {
    ("-p", "--processes"): "write dramatiq.processes instead",
    ("-t", "--threads"): "write dramatiq.threads instead",
    ("-Q", "--queues"): "write the pool's queue instead",
    ("--worker-shutdown-timeout",): "write stop.timeout instead",
}
_MODULE = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*(?::[^\W\d]\w*(?:\.[^\W\d]\w*)*)?")


class DramatiqTable(Table):
    app: Annotated[
        tuple[words.Text, ...] | None,
        About("the module with the broker, or module:broker; further ones with actors may follow it", ["proj.tasks"]),
    ] = None
    processes: Annotated[units.PositiveCount | None, About("of one worker")] = None
    threads: Annotated[units.PositiveCount | None, About("of each process: so many jobs at a time")] = None
    max_deaths: Annotated[
        units.Count | None,
        About("on Redis: a job whose worker dies goes back, and is a dead letter once it has cost so many; 0: never"),
    ] = None
    options: Annotated[tuple[words.Text, ...] | None, About("further arguments of dramatiq", ["--verbose"])] = None


class Dramatiq:
    name: ClassVar[str] = "dramatiq"
    options: ClassVar[type[Table]] = DramatiqTable
    extra: ClassVar[str | None] = "dramatiq"

    def plan(self, asked: Asked) -> Plan:
        options: DramatiqTable = asked.options
        app, further = _modules(options), tuple(str(option) for option in options.options or ())
        refuse_job_options(asked.job, _OF_THE_ACTOR)
        refuse_arguments("dramatiq.options", further, _OURS)
        return Plan(
            command=(
                asked.python, "-m", "dramatiq", *app, _AGENT, "--queues", *asked.queues,
                "--processes", f"{options.processes or 1:d}", "--threads", f"{options.threads or 1:d}",
                "--worker-shutdown-timeout", f"{1000 * _patience(asked):.0f}", *further,
            ),
            env=(("CHAPERONE_DRAMATIQ_BROKER", app[0]),),
            reports=True,
            at_once=int(options.processes or 1) * int(options.threads or 1),
            then=(Rung("SIGTERM", _LETTING_GO),),
            attendant="chaperone_async.attendant.dramatiq",
            settings={
                "app": app,
                "max_deaths": MAX_DEATHS if options.max_deaths is None else int(options.max_deaths),
            },
            can=frozenset({"backlog", "failed", "retry", "flush", "reclaim"}),
            needs=("dramatiq",),
            warning=_NO_ORDER if len(asked.queues) > 1 else None,
        )  # fmt: skip


def _patience(asked: Asked) -> float:
    """Seconds for the jobs of one that ends. When one of several processes has died the others end, too, unasked, and
    so long the worker does nothing but wait for them."""
    if (asked.options.processes or 1) == 1:
        return _PATIENCE
    return (asked.job.timeout or 0.0) + max(asked.stop_timeout, _SHORTER)


def _modules(options: DramatiqTable) -> list[str]:
    app = [str(module) for module in options.app or () if module]
    if not app:
        raise Unsuited("dramatiq.app", 'is missing; write where the actors are, such as dramatiq.app = "proj.tasks"')
    for module in app:
        if not _MODULE.fullmatch(module):
            why = f'{module!r} does not name a module; write module, or module:broker, such as "proj.tasks"'
            raise Unsuited("dramatiq.app", why)
    if any(":" in module for module in app[1:]):
        raise Unsuited("dramatiq.app", "names a broker behind the first module; write that one first")
    return app
