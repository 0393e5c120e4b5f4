"""Procrastinate: a worker is one process with so many jobs at a time, of any number of queues in PostgreSQL.

By TERM it finishes its jobs; a second one ends it in the middle of them, so there is only one. Its own time limit for
that is not used: it would mark what is not finished as aborted, for good, where a killed worker's jobs are put back.
"""

from typing import Annotated, ClassVar

from chaperone_async.system.backends.agents import application, environment, further
from chaperone_async.system.backends.protocol import Asked, Plan
from chaperone_async.system.backends.refusal import refuse_arguments, refuse_job_options, refuse_no_pause
from chaperone_async.system.config import units, words
from chaperone_async.system.config.keys import About, Table

MAX_DEATHS = 3
_OF_THE_TASK = {
    "tries": "each of Procrastinate's tasks has its own; remove it, and write @app.task(retry=3)",
    "backoff": "each of Procrastinate's tasks has its own; remove it, and write @app.task(retry=RetryStrategy(wait=5))",
    "max_exceptions": "each of Procrastinate's tasks has its own; remove it, and write @app.task(retry=3)",
}
_OURS = {
    ("-n", "--name"): "a worker's name is its id here",
    ("-q", "--queues"): "write the pool's queue instead",
    ("-c", "--concurrency"): "write procrastinate.concurrency instead",
    ("-p", "--fetch-job-polling-interval"): "write job.sleep instead",
    ("--one-shot",): "a worker that ends when there is nothing to do is started again at once",
}


class ProcrastinateTable(Table):
    app: Annotated[words.Text | None, About("the App, as procrastinate --app takes it", "proj.app.app")] = None
    concurrency: Annotated[
        units.PositiveCount | None,
        About("jobs of one worker at a time; by default what the App's worker_defaults say, or 1", 1),
    ] = None
    max_deaths: Annotated[
        units.Count | None,
        About("a job whose worker dies goes back, and has failed once it has cost so many; 0: never", MAX_DEATHS),
    ] = None
    options: Annotated[
        tuple[words.Text, ...] | None, About("further arguments of procrastinate worker", ["--no-listen-notify"])
    ] = None


class Procrastinate:
    name: ClassVar[str] = "procrastinate"
    options: ClassVar[type[Table]] = ProcrastinateTable
    extra: ClassVar[str | None] = "procrastinate"

    def plan(self, asked: Asked) -> Plan:
        options: ProcrastinateTable = asked.options
        app = application(options.app, "procrastinate.app", "proj.app.app")
        refuse_job_options(asked.job, _OF_THE_TASK)
        refuse_no_pause(asked.job)
        refuse_arguments("procrastinate.options", further(options.options), _OURS)
        return Plan(
            command=(
                asked.python, "-m", "procrastinate", "--app", "chaperone_async.agent.procrastinate.app",
                "worker", "--name", "{worker_id}", "--queues", "{queue}",
                *(("--concurrency", f"{options.concurrency:d}") if options.concurrency else ()),
                *(("--fetch-job-polling-interval", "{sleep}") if asked.job.sleep else ()),
                *further(options.options),
            ),
            env=environment(app, sleep=asked.job.sleep),
            honours=frozenset({"sleep"}),
            reports=True,
            at_once=int(options.concurrency or 1),
            attendant="chaperone_async.attendant.procrastinate",
            settings={"app": app, "max_deaths": MAX_DEATHS if options.max_deaths is None else int(options.max_deaths)},
            can=frozenset({"backlog", "failed", "retry", "flush", "reclaim"}),
            needs=("procrastinate",),
        )  # fmt: skip
