"""The shape of `chaperone.toml`: what may be written where. None: not written; defaults are those of `core.spec`."""

from typing import Literal

from msgspec import Struct

from chaperone_async.core.spec import LogMode, LoopAction, OnFatal, PauseMode, ReadyWhen, RestartMode
from chaperone_async.system.config import units, words

LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]


class Table(Struct, kw_only=True):
    """A TOML table: unknown keys are refused, and every key may be left out."""


class HealthTable(Table):
    interval: units.PositiveDuration | None = None
    timeout: units.PositiveDuration | None = None
    failure_threshold: units.PositiveCount | None = None
    start_grace: units.Duration | None = None
    ready: ReadyWhen | None = None
    start_timeout: units.Duration | None = None
    memory_limit: units.Size | None = None
    heartbeat: units.Duration | None = None
    http: words.HttpUrl | None = None
    tcp: words.TcpAddress | None = None
    exec: words.Command | None = None
    python: words.FunctionPath | None = None
    stall: units.Stall | None = None


class BackoffTable(Table):
    initial: units.Duration | None = None
    factor: units.Factor | None = None
    max: units.Duration | None = None
    jitter: units.Share | None = None
    reset_after: units.Duration | None = None


class CrashLoopTable(Table):
    count: units.PositiveCount | None = None
    window: units.PositiveDuration | None = None
    early: units.Duration | None = None
    action: LoopAction | None = None


class RestartTable(Table, rename={"mode": "policy"}):
    mode: RestartMode | None = None
    success_codes: tuple[units.ExitCode, ...] | None = None
    start_seconds: units.Duration | None = None
    backoff: BackoffTable | None = None
    crash_loop: CrashLoopTable | None = None


class RecycleTable(Table):
    max_time: units.Duration | None = None
    max_jobs: units.Count | None = None
    max_memory: units.Size | None = None
    jitter: units.Share | None = None


class StopTable(Table):
    signal: words.SignalName | None = None
    timeout: units.Duration | None = None
    to: Literal["worker", "group"] | None = None


class PauseTable(Table):
    mode: PauseMode | None = None


class PoolLogsTable(Table):
    mode: LogMode | None = None
    path: words.Text | None = None
    max_size: units.Size | None = None
    backups: units.Count | None = None
    keep: units.Count | None = None


class PoolTable(Table):
    command: words.Command | None = None
    queue: words.Queues | None = None
    workers: units.Workers | None = None
    min_ready: units.Count | None = None
    essential: bool | None = None
    on_fatal: OnFatal | None = None
    callback_timeout: units.PositiveDuration | None = None
    crash_records: units.Count | None = None
    env: dict[words.VariableName, words.Variable] | None = None
    env_file: words.Text | None = None
    directory: words.Text | None = None
    user: words.Account | None = None
    group: words.Account | None = None
    umask: units.Umask | None = None
    nice: units.Niceness | None = None
    rlimits: dict[words.LimitName, units.ResourceLimit] | None = None
    health: HealthTable | None = None
    restart: RestartTable | None = None
    recycle: RecycleTable | None = None
    stop: StopTable | None = None
    pause: PauseTable | None = None
    logs: PoolLogsTable | None = None
    job: words.Job | None = None
    autoscale: words.Later | None = None
    backend: words.Later | None = None
    celery: words.Later | None = None
    rq: words.Later | None = None
    dramatiq: words.Later | None = None
    huey: words.Later | None = None
    procrastinate: words.Later | None = None
    saq: words.Later | None = None
    taskiq: words.Later | None = None
    arq: words.Later | None = None
    laravel: words.Later | None = None


class TlsTable(Table):
    cert: words.Text | None = None
    key: words.Text | None = None


class HttpTable(Table):
    listen: tuple[words.Listener, ...] | None = None
    token: words.Token | None = None
    users: dict[words.UserName, words.PasswordHash] | None = None
    tls: TlsTable | None = None


class ShutdownTable(Table):
    grace: units.Duration | None = None


class LogsTable(Table):
    format: LogFormat | None = None
    level: LogLevel | None = None


class FileTable(Table):
    """One whole file. `include` has been followed before."""

    include: tuple[words.Text, ...] | None = None
    name: words.Text | None = None
    http: HttpTable | None = None
    shutdown: ShutdownTable | None = None
    logs: LogsTable | None = None
    defaults: PoolTable | None = None
    pools: dict[words.PoolName, PoolTable] | None = None
    budget: words.Later | None = None
    alerts: words.Later | None = None
