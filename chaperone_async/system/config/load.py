"""`load`: the configuration from its files, complete and checked, or one ConfigError with all that is wrong."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple

from chaperone_async.core.spec import PoolSpec
from chaperone_async.errors import ConfigError
from chaperone_async.system.config import listeners
from chaperone_async.system.config.backend import plan_backend
from chaperone_async.system.config.build import build_pool
from chaperone_async.system.config.check import check_pool, check_tls
from chaperone_async.system.config.check_queues import check_budget
from chaperone_async.system.config.failed_jobs import FailedJobsPlace, place_of
from chaperone_async.system.config.find import SYSTEM_FILE, Document, find_document
from chaperone_async.system.config.layers import Layer, combined, merge, nearest, refuse_repetition, stated
from chaperone_async.system.config.model import (
    FileTable,
    HttpTable,
    LogFormat,
    LogLevel,
    LogsTable,
    ShutdownTable,
)
from chaperone_async.system.config.problems import Place, Problems
from chaperone_async.system.config.read import read_all
from chaperone_async.system.config.walk import read_table

ENVIRONMENT = Place("environment")
DEFAULT_GRACE = 30.0
DEFAULT_SOCKET_MODE = 0o600
DEFAULT_LOG_FORMAT: LogFormat = "text"
DEFAULT_LOG_LEVEL: LogLevel = "info"


@dataclass(frozen=True, slots=True)
class Tls:
    cert: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A whole configuration. Durations in seconds."""

    name: str
    listen: tuple[str, ...]  # host:port with IPv6 in brackets, or unix:/path; at least one of these
    token: str | None = field(repr=False)
    users: tuple[tuple[str, str], ...] = field(repr=False)  # name and scrypt hash
    tls: Tls | None
    grace: float
    log_format: LogFormat
    log_level: LogLevel
    pools: tuple[PoolSpec, ...]
    source: str  # the main file, absolute
    stated_stops: frozenset[str] = frozenset()  # pools whose stop.timeout was written, not defaulted
    socket_mode: int = DEFAULT_SOCKET_MODE  # permissions of unix sockets
    watch: bool = False
    files: tuple[str, ...] = ()  # the main file and all that it includes, absolute
    budget: int | None = None  # workers of all autoscaled pools together
    failed_jobs: FailedJobsPlace = FailedJobsPlace()  # noqa: RUF009  frozen
    hidden: frozenset[str] = field(default=frozenset(), repr=False)  # what to `secrets.mask` in anything that is shown


class Reading(NamedTuple):
    """What was written, before any default: each file's tables after those of the environment, all of them in one, and
    of each pool the layers that say something of it, the nearest first."""

    documents: list[Document]
    files: list[tuple[Place, FileTable]]
    whole: FileTable
    stacks: list[tuple[Layer, ...]]


def load(path: Path | None, env: Mapping[str, str]) -> Config:
    """Find, read and check the configuration. Raises ConfigError with every problem at once."""
    return load_reading(path, env)[0]


def load_reading(path: Path | None, env: Mapping[str, str]) -> tuple[Config, Reading]:
    """As `load`, together with where each value stands."""
    document = find_document(path, env)
    if document is None:
        places = f"no ./chaperone.toml, no [tool.chaperone] in ./pyproject.toml and no {SYSTEM_FILE}"
        advice = "name one with -c FILE or $CHAPERONE_CONFIG"
        raise ConfigError([f"cannot find a configuration: there is {places}; {advice}"])
    problems = Problems()
    reading = _read(read_all(document, env, problems), env, problems)
    config = _assemble(reading, env, problems)
    problems.raise_if_any()
    return config, reading


def interpret(documents: list[Document], env: Mapping[str, str], problems: Problems) -> Config:
    """Never raises: where there are problems, the result is not to be used."""
    return _assemble(_read(documents, env, problems), env, problems)


def _read(documents: list[Document], env: Mapping[str, str], problems: Problems) -> Reading:
    files = [(document.at, read_table(FileTable, document.table, document.at, problems)) for document in documents]
    refuse_repetition(files, problems)
    files.insert(0, (ENVIRONMENT, read_table(FileTable, _overrides(env), ENVIRONMENT, problems)))
    defaults = tuple(Layer(at / "defaults", table.defaults) for at, table in files if table.defaults is not None)
    own = [Layer(at / "pools" / name, table) for at, tables in files for name, table in (tables.pools or {}).items()]
    whole = reduce(merge, (table for _, table in files), FileTable())
    return Reading(documents, files, whole, [(layer, *defaults) for layer in own])


def _assemble(reading: Reading, env: Mapping[str, str], problems: Problems) -> Config:
    documents, files, whole, stacks = reading
    main = documents[0]
    http, logs = whole.http or HttpTable(), whole.logs or LogsTable()
    check_tls(http, nearest(files, ("http", "tls")) or main.at, problems)
    shutdown = whole.shutdown or ShutdownTable()
    grace = DEFAULT_GRACE if shutdown.grace is None else float(shutdown.grace)
    if any(problems.touch(at.below("shutdown.grace")) for at, _ in files):
        grace = math.inf  # a grace that was refused contradicts nothing
    if not stacks and not any(problems.touch(at / key) for at, _ in files for key in ("pools", "include")):
        problems.add(main.at / "pools", 'there are none; add a table such as [pools.emails] with command = "…" in it')
    pools = tuple(_build_and_check(layers, grace, problems) for layers in stacks)
    check_budget(whole.budget, pools, nearest(files, ("budget",)) or main.at, problems)
    name = str(whole.name or os.uname().nodename)
    return Config(
        name=name,
        listen=listeners.complete(
            (listeners.DEFAULT_TCP,) if http.listen is None else (str(address) for address in http.listen), env
        ),
        token=str(http.token) if http.token else None,
        users=tuple((str(name), str(hashed)) for name, hashed in (http.users or {}).items()),
        tls=None if http.tls is None else Tls(str(http.tls.cert), str(http.tls.key)),
        grace=grace,
        log_format=logs.format or DEFAULT_LOG_FORMAT,
        log_level=logs.level or DEFAULT_LOG_LEVEL,
        pools=pools,
        source=str(main.path.absolute()),
        stated_stops=frozenset(layers[0].at.keys[-1] for layers in stacks if stated(layers, "stop.timeout")),
        socket_mode=DEFAULT_SOCKET_MODE if http.socket_mode is None else int(http.socket_mode),
        watch=bool(whole.watch),
        files=tuple(str(document.path.absolute()) for document in documents),
        budget=None if whole.budget is None or whole.budget.max_workers is None else int(whole.budget.max_workers),
        failed_jobs=place_of(whole.failed_jobs, str(whole.name or ""), env),
        hidden=problems.hidden,
    )


def _build_and_check(layers: tuple[Layer, ...], grace: float, problems: Problems) -> PoolSpec:
    table, name = combined(layers), layers[0].at.keys[-1]
    spec = build_pool(name, table, grace, plan_backend(name, table, layers, grace, problems))
    check_pool(spec, grace, layers, problems)
    return spec


def _overrides(env: Mapping[str, str]) -> dict[str, Any]:
    """What the environment says, in the shape of a file. An empty variable says nothing."""
    http: dict[str, Any] = {}
    if listen := listeners.split(env.get("CHAPERONE_HTTP_LISTEN", "")):
        http["listen"] = listen
    if token := env.get("CHAPERONE_TOKEN"):
        http["token"] = token
    return {"http": http} | ({"name": name} if (name := env.get("CHAPERONE_NAME")) else {})
