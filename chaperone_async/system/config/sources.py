"""The tables about backlogs: where they are read, and how many workers they call for."""

from typing import Annotated, Literal

from chaperone_async.core.backlog import Combine
from chaperone_async.core.demand import Strategy
from chaperone_async.system.config import units, words
from chaperone_async.system.config.keys import About, Table


class SourceTable(Table):
    """One of the kinds, and what belongs to it."""

    redis_list: Annotated[words.RedisKey | None, About("jobs in a list", "redis://localhost/0#emails")] = None
    redis_stream: Annotated[
        words.RedisKey | None, About("jobs that a group of a stream has not been given", "redis://localhost/0#jobs")
    ] = None
    redis_sorted_set: Annotated[
        words.RedisKey | None,
        About("jobs of a sorted set whose score, in seconds, is due", "redis://localhost/0#later"),
    ] = None
    rabbitmq: Annotated[
        words.RabbitmqQueue | None, About("messages ready in a queue", "amqp://guest:guest@localhost/#emails")
    ] = None
    sql: Annotated[
        words.SqlUrl | None,
        About("a database: postgresql://, mysql:// or sqlite:///FILE", "postgresql://app@localhost/app"),
    ] = None
    http: Annotated[words.HttpUrl | None, About("a JSON document", "http://127.0.0.1:8080/queues.json")] = None
    prometheus: Annotated[words.HttpUrl | None, About("a Prometheus server", "http://prometheus:9090")] = None
    command: Annotated[words.Command | None, About("a program that prints the number", ["./depth", "{queue}"])] = None
    python: Annotated[
        words.FunctionPath | None, About("a function, or coroutine function, that returns it", "myapp.queues:depth")
    ] = None
    group: Annotated[words.Text | None, About("of redis_stream: the group", "workers")] = None
    query: Annotated[
        words.Text | None,
        About("of sql: one row with one number, or with columns as of a backlog; of prometheus: one value", "select 1"),
    ] = None
    pointer: Annotated[
        words.JsonPointer | None,
        About("of http: where the number is (RFC 6901); by default the document is it", "/a/0"),
    ] = None


class BacklogTable(Table):
    source: Annotated[
        tuple[SourceTable, ...] | None,
        About(
            "where it is read, one or several; by default the backend knows", {"redis_list": "redis://localhost/0#q"}
        ),
    ] = None
    combine: Annotated[Combine | None, About("of several sources: their sum, or the max")] = None
    interval: Annotated[units.PositiveDuration | None, About("how often it is read")] = None
    timeout: Annotated[units.PositiveDuration | None, About("how long one reading may take")] = None


class AutoscaleTable(Table):
    strategy: Annotated[
        Strategy | None,
        About("jobs per worker (backlog), seconds until a job is taken (latency), or a function's (python)", "backlog"),
    ] = None
    python: Annotated[
        words.FunctionPath | None,
        About('of strategy "python": called with the sample, returns a number of workers', "myapp.scaling:workers"),
    ] = None
    target: Annotated[
        units.Target | None, About("backlog: jobs per worker; latency: seconds, or a text such as 5s", 10)
    ] = None
    cooldown: Annotated[units.Duration | None, About("between two changes", "3s")] = None
    max_step: Annotated[units.PositiveCount | None, About("workers more, or fewer, at a time", 1)] = None
    tolerance: Annotated[units.Share | None, About("a need this close to the present workers changes nothing", 0.1)] = (
        None
    )
    stabilization: Annotated[
        units.Duration | None, About("down only to the highest need of so long; up is never held back by it", "30s")
    ] = None
    scale_to_zero_after: Annotated[units.Duration | None, About("of being empty, where workers.min is 0", "5m")] = None
    source: Annotated[
        tuple[SourceTable, ...] | None, About("as backlog.source", {"redis_list": "redis://localhost/0#q"})
    ] = None


class BudgetTable(Table):
    max_workers: Annotated[
        units.PositiveCount | None, About("of all autoscaled pools together; they share it by their work", 40)
    ] = None


SourceKind = Literal[
    "redis_list", "redis_stream", "redis_sorted_set", "rabbitmq", "sql", "http", "prometheus", "command", "python"
]
OPTIONS: dict[str, tuple[str, ...]] = {
    "redis_stream": ("group",),
    "sql": ("query",),
    "prometheus": ("query",),
    "http": ("pointer",),
}
ONE_QUEUE: tuple[SourceKind, ...] = ("redis_list", "redis_stream", "redis_sorted_set", "rabbitmq")
NEEDED: dict[str, str] = {"redis_stream": "group", "sql": "query", "prometheus": "query"}
