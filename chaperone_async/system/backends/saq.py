"""SAQ: a worker is one process with so many jobs at a time, of the one queue that the application's settings have, on
Redis or PostgreSQL.

SAQ has its settings from the application alone, so our agent stands in their place. By TERM a worker of its own would
cancel its jobs, or, with a grace period, wait for that even when it has none; with the agent it finishes them and ends.
"""

from typing import Annotated, ClassVar

from chaperone_async.system.backends.agents import application, environment, further, only_queue, patience
from chaperone_async.system.backends.protocol import Asked, Plan
from chaperone_async.system.backends.refusal import refuse_arguments, refuse_job_options
from chaperone_async.system.config import units, words
from chaperone_async.system.config.keys import About, Table

MAX_DEATHS = 3
_AT_ENQUEUE = {
    "tries": "SAQ is told of it with each job; remove it, and write queue.enqueue(…, retries=3)",
    "backoff": "SAQ is told of it with each job; remove it, and write queue.enqueue(…, retry_delay=5)",
    "max_exceptions": "SAQ does not count them; remove it, and write queue.enqueue(…, retries=3)",
    "sleep": "a SAQ worker does not look for jobs, it is handed them; remove it",
}
_OURS = {
    ("--workers",): "write the pool's workers instead",
    ("--web", "--port"): "only one worker could have the port; run it by itself, as another program",
    ("--check",): "that is no worker",
}


class SaqTable(Table):
    app: Annotated[words.Text | None, About("the settings, as saq takes them: module.variable", "proj.settings")] = None
    concurrency: Annotated[
        units.PositiveCount | None, About("jobs of one worker at a time; by default what the settings say, or 1", 1)
    ] = None
    max_deaths: Annotated[
        units.Count | None,
        About("a job whose worker dies goes back, and is aborted once it has cost so many; 0: never", MAX_DEATHS),
    ] = None
    options: Annotated[tuple[words.Text, ...] | None, About("further arguments of saq", ["--verbose"])] = None


class Saq:
    name: ClassVar[str] = "saq"
    options: ClassVar[type[Table]] = SaqTable
    extra: ClassVar[str | None] = "saq"

    def plan(self, asked: Asked) -> Plan:
        options: SaqTable = asked.options
        app = application(options.app, "saq.app", "proj.settings")
        only_queue(asked, "a SAQ worker")
        refuse_job_options(asked.job, _AT_ENQUEUE)
        refuse_arguments("saq.options", further(options.options), _OURS)
        return Plan(
            command=(asked.python, "-m", "saq", "chaperone_async.agent.saq.settings", *further(options.options)),
            env=environment(app, concurrency=options.concurrency, patience=patience(asked)),
            reports=True,
            at_once=int(options.concurrency or 1),
            attendant="chaperone_async.attendant.saq",
            settings={"app": app, "max_deaths": MAX_DEATHS if options.max_deaths is None else int(options.max_deaths)},
            can=frozenset({"backlog", "reclaim"}),
            keeps_failed=False,
            needs=("saq",),
        )
