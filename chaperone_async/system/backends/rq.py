"""RQ: a worker is one process that forks another for each job, or with `simple` does the jobs itself.

By TERM it finishes its job; by a second one it kills it, so there is only one. The address of Redis goes by the
environment: arguments are for everybody to see, and it may hold a password.
"""

from typing import Annotated, ClassVar

from chaperone_async.system.backends.protocol import Asked, Plan, Unsuited
from chaperone_async.system.backends.refusal import Advice, refuse_arguments, refuse_job_options
from chaperone_async.system.config import units, words
from chaperone_async.system.config.keys import About, Table

MAX_DEATHS = 3
_AGENT = "chaperone_async.agent.rq.Worker"
_WORKER_TTL = 17  # seconds: an idle worker looks up from its queues, and gives a sign of life, 15 s earlier
_MONITORING = 2  # seconds between its looks at a job
_AT_ENQUEUE = {
    "tries": "RQ is told of it with each job; remove it, and write queue.enqueue(…, retry=Retry(max=2))",
    "backoff": "RQ is told of it with each job; remove it, and write queue.enqueue(…, retry=Retry(2, interval=[1, 5]))",
    "max_exceptions": "RQ does not count them; remove it, and write queue.enqueue(…, retry=Retry(max=2))",
    "sleep": "an RQ worker does not look for jobs, it is handed them; remove it",
}
_OURS: Advice = {
    ("-n", "--name"): "a worker's name is its id here, by which its jobs are found when it dies",
    ("-w", "--worker-class"): "write rq.worker_class instead",
    ("-u", "--url"): "write rq.url instead, which the list of processes does not show",
    ("-c", "--config"): "write env.RQ_CONFIG instead, which also those hear of who look after the queues",
}


class RedisUrl(words.Text):
    __slots__ = ()
    form = r"(?:(?:rediss?|unix)://\S*)?"
    why = 'is not the address of a Redis; write one such as "redis://localhost:6379/0"'


class ClassName(words.Text):
    __slots__ = ()
    form = r"(?:[^\W\d]\w*(?:\.[^\W\d]\w*)+)?"
    why = 'does not name a class; write module.Class such as "proj.workers.Worker"'


class RqTable(Table):
    url: Annotated[
        RedisUrl | None,
        About("of Redis; by default $RQ_REDIS_URL, $REDIS_URL, or the one on this machine", "redis://localhost:6379/0"),
    ] = None
    worker_class: Annotated[
        ClassName | None, About("your own class of worker, which is taught to tell of its jobs", "proj.workers.Worker")
    ] = None
    simple: Annotated[
        bool | None, About("jobs run in the worker itself, not in a fork of it: faster, and a crash takes both")
    ] = None
    scheduler: Annotated[
        bool | None, About("workers also put jobs into their queue that are due: scheduled ones, later retries")
    ] = None
    max_deaths: Annotated[
        units.Count | None,
        About("a job whose worker dies goes back, until it has cost so many: then RQ has its way with it; 0: always"),
    ] = None
    options: Annotated[tuple[words.Text, ...] | None, About("further arguments of rq worker", ["--quiet"])] = None


class Rq:
    name: ClassVar[str] = "rq"
    options: ClassVar[type[Table]] = RqTable
    extra: ClassVar[str | None] = "rq"

    def plan(self, asked: Asked) -> Plan:
        options: RqTable = asked.options
        further = tuple(str(option) for option in options.options or ())
        refuse_job_options(asked.job, _AT_ENQUEUE)
        refuse_arguments("rq.options", further, _OURS)
        return Plan(
            command=(
                asked.python, "-m", "rq.cli", "worker", "--name", "{worker_id}", "--worker-class", _AGENT,
                "--worker-ttl", str(_WORKER_TTL), "--job-monitoring-interval", str(_MONITORING),
                *(("--with-scheduler",) if options.scheduler else ()), *further, *asked.queues,
            ),
            env=tuple(_environment(options).items()),
            reports=True,
            beats=not options.simple,
            attendant="chaperone_async.attendant.rq",
            settings={"max_deaths": MAX_DEATHS if options.max_deaths is None else int(options.max_deaths)},
            can=frozenset({"backlog", "failed", "retry", "flush", "reclaim"}),
            needs=("rq",),
        )  # fmt: skip


def _environment(options: RqTable) -> dict[str, str]:
    """RQ's own variable, which its tools and our attendant read like the worker does, and the class to stand on."""
    if options.simple and options.worker_class:
        why = "goes without rq.worker_class, which says what runs a job; remove one of them"
        raise Unsuited("rq.simple", why)
    found = {"RQ_REDIS_URL": str(options.url)} if options.url else {}
    own = "rq.SimpleWorker" if options.simple else str(options.worker_class or "")
    return found | ({"CHAPERONE_RQ_WORKER": own} if own else {})
