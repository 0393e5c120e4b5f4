"""taskiq: a worker is a main process that starts one child, with so many tasks at a time, of the application's broker.

By TERM it finishes its tasks. The main process would start a dead child again, every second and for ever, and with it
its tasks were forgotten: here it ends with its child, and what comes then is up to the pool.
"""

from typing import Annotated, ClassVar

from chaperone_async.system.backends.agents import application, environment, further, only_queue, patience
from chaperone_async.system.backends.protocol import Asked, Plan
from chaperone_async.system.backends.refusal import refuse_arguments, refuse_job_options
from chaperone_async.system.config import units, words
from chaperone_async.system.config.keys import About, Table

MAX_DEATHS = 3
_LETTING_GO = 4.0  # as it takes up to three until the child has heard of it
_OF_THE_TASK = {
    "tries": "each task of taskiq has its own; remove it, and write @broker.task(retry_on_error=True, max_retries=3)",
    "backoff": "taskiq leaves it to a middleware; remove it, and add a SmartRetryMiddleware to the broker",
    "max_exceptions": "taskiq does not count them; remove it, and write @broker.task(max_retries=3)",
    "sleep": "a taskiq worker does not look for tasks, it is handed them; remove it",
}
_OURS = {
    ("-w", "--workers"): "write the pool's workers instead",
    ("--max-async-tasks",): "write taskiq.concurrency instead",
    ("--max-prefetch",): "write taskiq.prefetch instead",
    ("--max-tasks-per-child",): "write recycle.max_jobs instead",
    ("--max-fails",): "a worker ends with its child here; what comes then is up to restart",
    ("--wait-tasks-timeout",): "write stop.timeout instead",
    ("-r", "--reload", "--reload-dir"): "reload or restart the pool instead",
}


class TaskiqTable(Table):
    app: Annotated[
        words.Text | None, About("the broker, as taskiq takes it: module:variable", "proj.broker:broker")
    ] = None
    modules: Annotated[
        tuple[words.Text, ...] | None, About("modules with tasks, which the worker imports", ["proj.tasks"])
    ] = None
    concurrency: Annotated[units.PositiveCount | None, About("tasks of one worker at a time; by default 1", 1)] = None
    prefetch: Annotated[
        units.PositiveCount | None,
        About("how many a worker takes from a Redis stream at once; by default those it works on at a time", 1),
    ] = None
    max_deaths: Annotated[
        units.Count | None,
        About(
            "of a stream: a task whose worker dies goes back at once, but once it has cost so many only after the"
            " broker's idle_timeout; 0: always at once",
            MAX_DEATHS,
        ),
    ] = None
    options: Annotated[
        tuple[words.Text, ...] | None, About("further arguments of taskiq worker", ["--ack-type", "when_executed"])
    ] = None


class Taskiq:
    name: ClassVar[str] = "taskiq"
    options: ClassVar[type[Table]] = TaskiqTable
    extra: ClassVar[str | None] = "taskiq"

    def plan(self, asked: Asked) -> Plan:
        options: TaskiqTable = asked.options
        app = application(options.app, "taskiq.app", "proj.broker:broker", ":")
        only_queue(asked, "a taskiq broker")
        refuse_job_options(asked.job, _OF_THE_TASK)
        refuse_arguments("taskiq.options", further(options.options), _OURS)
        tasks, modules = int(options.concurrency or 1), tuple(further(options.modules))
        return Plan(
            command=(
                asked.python, "-m", "taskiq", "worker", "chaperone_async.agent.taskiq:broker", *modules,
                "--workers", "1", "--max-async-tasks", str(tasks), "--max-fails", "1",
                "--wait-tasks-timeout", f"{patience(asked, _LETTING_GO):g}", *further(options.options),
            ),
            env=environment(app, prefetch=int(options.prefetch or tasks)),
            reports=True,
            beats=False,
            at_once=tasks,
            attendant="chaperone_async.attendant.taskiq",
            settings={
                "app": app,
                "modules": modules,
                "max_deaths": MAX_DEATHS if options.max_deaths is None else int(options.max_deaths),
            },
            can=frozenset({"backlog", "reclaim"}),
            keeps_failed=False,
            needs=("taskiq",),
        )  # fmt: skip
