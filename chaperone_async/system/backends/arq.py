"""arq: a worker is one process with so many jobs at a time, of one queue on Redis.

arq has its settings from the application alone, so our agent stands in their place. By TERM a worker of its own would
cancel its jobs; with the agent it finishes them. The library is in maintenance only, which `Plan.warning` says.
"""

from typing import Annotated, ClassVar

from chaperone_async.system.backends.agents import application, environment, further, only_queue, patience
from chaperone_async.system.backends.protocol import Asked, Plan, Unsuited
from chaperone_async.system.backends.refusal import Advice, refuse_arguments, refuse_job_options, refuse_no_pause
from chaperone_async.system.config import units, words
from chaperone_async.system.config.keys import About, Table

_IN_THE_APPLICATION = {
    "backoff": "an arq job says itself when it is to be tried again; remove it, and raise arq.Retry(defer=5)",
    "max_exceptions": "arq tries no job again that has raised; remove it, and raise arq.Retry, with job.tries",
}
_OURS: Advice = {
    ("--watch",): "reload or restart the pool instead",
    ("--check",): "that is no worker",
}


class ArqTable(Table):
    app: Annotated[words.Text | None, About("the settings, as arq takes them: module.Class", "proj.WorkerSettings")] = (
        None
    )
    concurrency: Annotated[
        units.PositiveCount | None,
        About("jobs of one worker at a time, and the most it begins at each look; by default as the settings say", 10),
    ] = None
    options: Annotated[tuple[words.Text, ...] | None, About("further arguments of arq", ["--verbose"])] = None


class Arq:
    name: ClassVar[str] = "arq"
    options: ClassVar[type[Table]] = ArqTable
    extra: ClassVar[str | None] = "arq"

    def plan(self, asked: Asked) -> Plan:
        options: ArqTable = asked.options
        app = application(options.app, "arq.app", "proj.WorkerSettings")
        only_queue(asked, "an arq worker")
        refuse_job_options(asked.job, _IN_THE_APPLICATION)
        refuse_no_pause(asked.job)
        if asked.job.tries == 0:
            raise Unsuited("job.tries", "0 would have no job done; write how often, such as 1")
        refuse_arguments("arq.options", further(options.options), _OURS)
        return Plan(
            command=(asked.python, "-m", "arq", "chaperone_async.agent.arq.Settings", *further(options.options)),
            env=environment(
                app, concurrency=options.concurrency, patience=patience(asked), tries=asked.job.tries,
                sleep=asked.job.sleep,
            ),
            honours=frozenset({"tries", "sleep"}),
            reports=True,
            at_once=int(options.concurrency or 1),
            attendant="chaperone_async.attendant.arq",
            settings={"app": app},
            can=frozenset({"backlog", "reclaim"}),
            keeps_failed=False,
            needs=("arq",),
            warning="arq gets no new features, only what keeps it alive, since October 2025; for new work take another",
        )  # fmt: skip
