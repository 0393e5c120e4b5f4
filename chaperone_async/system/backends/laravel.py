"""Laravel: a worker is one PHP process with one job at a time. It takes its job options on the command line, all but
one, and keeps to them itself; it tells nothing of its jobs.

By TERM it finishes its job, and by SIGUSR2 it pauses after it. Its own memory limit (128 MB, exit code 12) is out of
the way: `recycle.max_memory` replaces a worker gracefully, where that would count as a crash.
"""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

from chaperone_async.core.spec import JobOptions
from chaperone_async.system.backends.protocol import Asked, Plan, Unsuited
from chaperone_async.system.backends.refusal import Advice, refuse_arguments, refuse_job_options
from chaperone_async.system.backends.rq import RedisUrl
from chaperone_async.system.config import words
from chaperone_async.system.config.keys import About, Table

_NO_MEMORY_LIMIT = 1_000_000  # MB; 0 would end a worker of older versions after each job
_IN_THE_JOB = {
    "max_exceptions": "Laravel is told of it by the job's class; remove it, and write public $maxExceptions = 3 there"
}
_OURS: Advice = {
    ("--queue",): "write the pool's queue instead",
    ("--name",): "a worker's name is its id here",
    ("--max-jobs",): "write recycle.max_jobs instead",
    ("--max-time",): "write recycle.max_time instead, which waits for the replacement to be ready",
    ("--memory",): "write recycle.max_memory instead, which waits for the replacement to be ready",
    ("--timeout",): "write job.timeout instead",
    ("--tries",): "write job.tries instead",
    ("--backoff", "--delay"): "write job.backoff instead",
    ("--sleep",): "write job.sleep instead",
    ("--once", "--stop-when-empty"): "a worker that ends when it has nothing to do would be started again and again",
}
_LIBRARIES = {"postgresql": "psycopg", "postgres": "psycopg", "mysql": "pymysql", "mariadb": "pymysql"}


class LaravelTable(Table):
    artisan: Annotated[words.Text | None, About("the application's artisan", "/app/artisan")] = None
    connection: Annotated[words.Text | None, About("of config/queue.php; by default redis", "redis")] = None
    php: Annotated[words.Text | None, About("the interpreter; by default php", "/usr/bin/php8.3")] = None
    redis: Annotated[
        RedisUrl | None,
        About("where the connection's queues are: their depth is read there, with `prefix`", "redis://localhost/0"),
    ] = None
    prefix: Annotated[
        words.Text | None,
        About("of Redis' keys, database.redis.options.prefix; may be empty", "laravel-database-"),
    ] = None
    database: Annotated[
        words.SqlUrl | None,
        About("or where its table of jobs is: their depth is read there", "mysql://app@localhost/app"),
    ] = None
    table: Annotated[words.Text | None, About("of jobs, in the database; by default jobs", "jobs")] = None
    options: Annotated[tuple[words.Text, ...] | None, About("further arguments of queue:work", ["--force"])] = None


class Laravel:
    name: ClassVar[str] = "laravel"
    options: ClassVar[type[Table]] = LaravelTable
    extra: ClassVar[str | None] = None

    def plan(self, asked: Asked) -> Plan:
        options: LaravelTable = asked.options
        further = tuple(str(option) for option in options.options or ())
        if not options.artisan:
            raise Unsuited("laravel.artisan", 'is missing; write one such as "/app/artisan"')
        refuse_job_options(asked.job, _IN_THE_JOB)
        refuse_arguments("laravel.options", further, _OURS)
        depth = dict(_depth(options))
        php, artisan = str(options.php or "php"), str(options.artisan)
        connection = str(options.connection or "redis")
        limits = (
            *_job_options(asked.job),
            *((f"--max-jobs={asked.recycle.max_jobs}",) if asked.recycle.max_jobs else ()),
        )
        return Plan(
            command=(
                php, artisan, "queue:work", connection, "--queue={queue}", "--name={worker_id}",
                f"--memory={_NO_MEMORY_LIMIT}", *limits, *further,
            ),
            honours=frozenset({"timeout", "tries", "backoff", "sleep", "max_jobs"}),
            pause_signal="SIGUSR2",
            attendant="chaperone_async.attendant.laravel",
            settings={"php": php, "artisan": artisan, "connection": connection, **depth},
            can=frozenset({"backlog", "failed", "retry", "flush"}),
            needs=tuple(_libraries(options)),
        )  # fmt: skip


def _job_options(job: JobOptions) -> Iterator[str]:
    for name in ("timeout", "tries", "sleep"):
        value = getattr(job, name)
        if value is not None:
            yield f"--{name}={_whole(name, value)}"
    if job.backoff is not None:
        yield f"--backoff={','.join(_whole('backoff', seconds) for seconds in job.backoff)}"


def _whole(name: str, value: float) -> str:
    if value % 1:
        raise Unsuited(
            f"job.{name}", f"cannot be honoured: Laravel knows whole seconds alone; write {round(value) or 1}"
        )
    return str(int(value))


def _depth(options: LaravelTable) -> Iterator[tuple[str, Any]]:
    """Where the attendant reads it; nothing: it asks artisan."""
    if options.redis and options.database:
        raise Unsuited("laravel.database", "goes without laravel.redis, where the jobs are; remove one of them")
    if options.redis and options.prefix is None:
        why = "is missing: with another prefix every queue would look empty; write database.redis.options.prefix"
        raise Unsuited("laravel.prefix", f'{why} of the application, such as "laravel-database-", or ""')
    if options.redis:
        yield from (("redis", str(options.redis)), ("prefix", str(options.prefix)))
    if options.database:
        yield from (("database", str(options.database)), ("table", str(options.table or "jobs")))


def _libraries(options: LaravelTable) -> Iterator[str]:
    if options.redis:
        yield "redis"
    library = _LIBRARIES.get(str(options.database or "").partition(":")[0])
    if library is not None:
        yield library
