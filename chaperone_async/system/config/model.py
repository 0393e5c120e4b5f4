"""The shape of `chaperone.toml`: what may be written where, and what it means. None: not written; defaults are those of
`core.spec`."""

from typing import Annotated, Literal

from chaperone_async.core.spec import LogMode, LoopAction, OnFatal, PauseMode, ReadyWhen, RestartMode
from chaperone_async.system.config import units, words
from chaperone_async.system.config.failed_jobs import FailedJobsTable
from chaperone_async.system.config.keys import About, Table
from chaperone_async.system.config.sources import AutoscaleTable, BacklogTable, BudgetTable

LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]


class HealthTable(Table):
    interval: Annotated[units.PositiveDuration | None, About("how often each worker is looked at")] = None
    timeout: Annotated[units.PositiveDuration | None, About("how long one check may take")] = None
    failure_threshold: Annotated[
        units.PositiveCount | None, About("so many failures in a row of one check are unhealthy, fewer degraded")
    ] = None
    start_grace: Annotated[
        units.Duration | None,
        About("failures of http, tcp, exec and python do not count before this, or before the first success"),
    ] = None
    ready: Annotated[
        ReadyWhen | None, About("ready after restart.start_seconds (alive), or when the worker says READY=1 (notify)")
    ] = None
    start_timeout: Annotated[
        units.Duration | None, About("a worker that is not ready in time is replaced; 0 is never")
    ] = None
    memory_limit: Annotated[
        units.Size | None, About("of a worker's process tree; a worker over it is replaced; 0 is off")
    ] = None
    heartbeat: Annotated[units.Duration | None, About("longest silence after the first WATCHDOG=1; 0 is off")] = None
    http: Annotated[
        words.HttpUrl | None, About("a GET of this must answer 200 to 399", "http://127.0.0.1:80{slot}/health")
    ] = None
    tcp: Annotated[words.TcpAddress | None, About("this must take a connection", "127.0.0.1:90{slot}")] = None
    exec: Annotated[words.Command | None, About("this must exit 0", ["./check", "{worker_id}"])] = None
    python: Annotated[
        words.FunctionPath | None,
        About("this function, called with the worker, must return true", "myapp.checks:healthy"),
    ] = None
    stall: Annotated[
        units.Duration | None,
        About("jobs wait and nobody gets on with any, for so long: one worker is recycled, then more; 0 is never"),
    ] = None


class BackoffTable(Table):
    initial: Annotated[units.Duration | None, About("the first delay")] = None
    factor: Annotated[units.Factor | None, About("each delay is so many times the one before")] = None
    max: Annotated[units.Duration | None, About("the longest delay")] = None
    jitter: Annotated[units.Share | None, About("a delay is lengthened by up to this share of itself")] = None
    reset_after: Annotated[units.Duration | None, About("a run this long clears the count")] = None


class CrashLoopTable(Table):
    count: Annotated[units.PositiveCount | None, About("so many early crashes within the window are a loop")] = None
    window: Annotated[units.PositiveDuration | None, About("how long a crash is remembered")] = None
    early: Annotated[units.Duration | None, About("a crash sooner than this is early")] = None
    action: Annotated[
        LoopAction | None,
        About("when all loop: try one at a time (breaker); give a looping slot up (fatal); or only tell (alert)"),
    ] = None


class RestartTable(Table, rename={"mode": "policy"}):
    mode: Annotated[RestartMode | None, About("which ends are followed by a restart: always, on-failure or never")] = (
        None
    )
    success_codes: Annotated[tuple[units.ExitCode, ...] | None, About("exit codes that are no failure")] = None
    start_seconds: Annotated[units.Duration | None, About("alive this long is started; an exit sooner backs off")] = (
        None
    )
    backoff: Annotated[BackoffTable | None, About("the delays between restarts after crashes in a row")] = None
    crash_loop: Annotated[
        CrashLoopTable | None, About("what counts as crashing again and again, and what becomes of it")
    ] = None


class RecycleTable(Table):
    max_time: Annotated[units.Duration | None, About("a worker is replaced after so long; 0 is never")] = None
    max_jobs: Annotated[
        units.Count | None, About("a worker is replaced after so many jobs, as it tells them; 0 is never")
    ] = None
    max_memory: Annotated[
        units.Size | None, About("a worker is replaced when its process tree has grown to this; 0 is never")
    ] = None
    jitter: Annotated[
        units.Share | None, About("each limit is lowered by up to this share, so that not all workers reach it at once")
    ] = None


class StopTable(Table):
    signal: Annotated[words.SignalName | None, About("what asks a worker to finish")] = None
    timeout: Annotated[
        units.Duration | None, About("a worker's time to finish before it is killed; by default at most shutdown.grace")
    ] = None
    to: Annotated[
        Literal["worker", "group"] | None, About("whom the signal is for: the main process, or its process group")
    ] = None


class PauseTable(Table):
    mode: Annotated[
        PauseMode | None,
        About("freeze stops processes; drain lets them finish; auto: the backend's way or drain, of a command freeze"),
    ] = None


class PoolLogsTable(Table):
    mode: Annotated[
        LogMode | None, About("a worker's lines go to our stdout, prefixed (inherit), or to a rotated file")
    ] = None
    path: Annotated[words.Text | None, About("of the file; {pool} and {slot} expand", "/var/log/{pool}-{slot}.log")] = (
        None
    )
    max_size: Annotated[units.Size | None, About("a file is rotated at this size; 0 is never")] = None
    backups: Annotated[units.Count | None, About("rotated files that are kept")] = None
    keep: Annotated[units.Count | None, About("last lines of each worker that stay in memory")] = None


class JobTable(Table):
    """Handed to the worker by placeholders in its command: `{timeout}`, `{tries}` …, durations in seconds."""

    timeout: Annotated[units.Duration | None, About("how long a job may take: {timeout} in the command", 60)] = None
    tries: Annotated[units.Count | None, About("how often a job is tried: {tries}", 3)] = None
    backoff: Annotated[
        tuple[units.Duration, ...] | None, About("delays between tries, one or a list: {backoff}", [1, 5, 10])
    ] = None
    sleep: Annotated[units.Duration | None, About("how long to wait when there is no job: {sleep}", 3)] = None
    max_exceptions: Annotated[units.Count | None, About("how often a job may raise: {max_exceptions}", 3)] = None


class PoolTable(Table):
    command: Annotated[
        words.Command | None,
        About(
            "what a worker runs; {queue} {pool} {slot} {worker_id} and job options expand",
            "python worker.py --queue={queue}",
        ),
    ] = None
    queue: Annotated[words.Queues | None, About("the queue, or a list in order of priority")] = None
    workers: Annotated[units.Workers | None, About("how many workers")] = None
    min_ready: Annotated[
        units.Count | None,
        About("the pool is ready with so many; rolling never goes under it; by default 1, of no workers 0", 1),
    ] = None
    max_surge: Annotated[
        units.Count | None,
        About("workers replaced at a time, each once its successor is ready; 0: one, without an extra worker"),
    ] = None
    essential: Annotated[bool | None, About("whether on_fatal applies when this pool gives up")] = None
    on_fatal: Annotated[
        OnFatal | None,
        About("of a pool that gave up: /readyz fails (unready), the supervisor exits 1 (exit), nothing (ignore)"),
    ] = None
    callback_timeout: Annotated[units.PositiveDuration | None, About("how long a Python callback may take")] = None
    crash_records: Annotated[units.Count | None, About("deaths that are remembered")] = None
    env: Annotated[
        dict[words.VariableName, words.Variable] | None,
        About("variables added to the workers' environment", {"DATABASE_URL": "${DATABASE_URL:-}"}),
    ] = None
    env_file: Annotated[words.Text | None, About("a file of NAME=VALUE lines for it", ".env")] = None
    directory: Annotated[words.Text | None, About("where workers run", "/app")] = None
    user: Annotated[words.Account | None, About("whom workers run as, by name or number; needs root", "www-data")] = (
        None
    )
    group: Annotated[words.Account | None, About("their group; needs root", "www-data")] = None
    umask: Annotated[units.Umask | None, About("of workers, in octal", "022")] = None
    nice: Annotated[units.Niceness | None, About("their priority, from -20 (first) to 19", 5)] = None
    rlimits: Annotated[
        dict[words.LimitName, units.ResourceLimit] | None,
        About("limits of each process, soft and hard", {"nofile": 4096}),
    ] = None
    job: Annotated[JobTable | None, About("job options, for placeholders in the command")] = None
    health: Annotated[HealthTable | None, About("when a worker counts as well")] = None
    restart: Annotated[RestartTable | None, About("what follows a worker's end")] = None
    recycle: Annotated[RecycleTable | None, About("when a healthy worker is replaced, gracefully")] = None
    stop: Annotated[StopTable | None, About("how a worker is stopped; then SIGKILL over its whole session")] = None
    pause: Annotated[PauseTable | None, About("what pausing does to a worker")] = None
    logs: Annotated[PoolLogsTable | None, About("where a worker's output goes")] = None
    backlog: Annotated[BacklogTable | None, About("how many jobs wait, and where that can be read")] = None
    autoscale: Annotated[
        AutoscaleTable | None, About("how many workers jobs call for, with workers = { min, max }")
    ] = None
    backend: Annotated[
        words.BackendName | None,
        About("whose workers these are, in place of a command; its options are in a table of its name", "celery"),
    ] = None
    python: Annotated[
        words.Text | None,
        About("of a backend: the application's interpreter; by default our own", "/app/.venv/bin/python"),
    ] = None
    backends: dict[str, Table] | None = None
    others = "backends"

    @classmethod
    def other(cls, key: str) -> type[Table] | None:
        from chaperone_async.system.backends.registry import options_of

        return options_of(key)

    @classmethod
    def other_names(cls) -> tuple[str, ...]:
        from chaperone_async.system.backends.registry import names

        return names()


class TlsTable(Table):
    cert: Annotated[words.Text | None, About("file of the certificate chain, PEM", "server.crt")] = None
    key: Annotated[words.Text | None, About("file of its private key, PEM", "server.key")] = None


class HttpTable(Table):
    listen: Annotated[
        tuple[words.Listener, ...] | None,
        About("host:port, [::]:port or unix:/path; a unix socket is added where none is listed"),
    ] = None
    socket_mode: Annotated[
        units.SocketMode | None, About("permissions of the unix socket: who may write to it may do everything", "0660")
    ] = None
    token: Annotated[
        words.Token | None, About("bearer token that reading and changing over TCP need", "${CHAPERONE_TOKEN:-}")
    ] = None
    users: Annotated[
        dict[words.UserName, words.PasswordHash] | None,
        About(
            "for basic authentication: names and scrypt hashes",
            {"admin": "$scrypt$ln=14,r=8,p=1$c2FsdA$aGFzaGhhc2hoYXNoaGFzaA"},
        ),
    ] = None
    tls: Annotated[TlsTable | None, About("certificate and key for https")] = None


class ShutdownTable(Table):
    grace: Annotated[
        units.Duration | None,
        About("the whole shutdown's budget, one deadline for everything; give the container a little more"),
    ] = None


class LogsTable(Table):
    format: Annotated[LogFormat | None, About("of our own lines and the workers': text, or one JSON object a line")] = (
        None
    )
    level: Annotated[
        LogLevel | None, About("the least of our own lines that is written: debug, info, warning or error")
    ] = None


class FileTable(Table):
    """One whole file. `include` has been followed before."""

    include: Annotated[
        tuple[words.Text, ...] | None, About("further files, relative to this one; * matches many", ["conf.d/*.toml"])
    ] = None
    name: Annotated[words.InstanceName | None, About("of this instance; by default the host's name", "orders")] = None
    watch: Annotated[bool | None, About("reload when the files of the configuration change")] = None
    http: Annotated[HttpTable | None, About("where the supervisor is reached, and by whom")] = None
    shutdown: Annotated[ShutdownTable | None, About("how the supervisor ends")] = None
    logs: Annotated[LogsTable | None, About("the supervisor's own output")] = None
    defaults: Annotated[
        PoolTable | None, About("keys of all pools; a pool's own come first, tables merge key by key")
    ] = None
    pools: Annotated[dict[words.PoolName, PoolTable] | None, About("the pools, by name")] = None
    budget: Annotated[BudgetTable | None, About("what autoscaled pools share")] = None
    failed_jobs: Annotated[
        FailedJobsTable | None,
        About("the list that the supervisor keeps of them where the queue system has none (celery, saq, taskiq, arq)"),
    ] = None
    alerts: words.Later | None = None
