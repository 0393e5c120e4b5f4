"""What differs between two configurations of pools, and what it takes: nothing but a word, or new workers.

Only what a worker was given when it started calls for a new one: its command line, its environment, where its output
goes. All else (counts, limits, thresholds, intervals) has effect on the workers that run.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Literal

from chaperone_async.core.spec import PoolSpec

Kind = Literal["add", "remove", "change"]

_GIVEN_AT_START = ("command", "queues", "job", "launch", "backend", "logs.mode", "logs.path", "health.heartbeat")
"""`health.heartbeat` is among them since a worker is told it, in WATCHDOG_USEC, and keeps to what it was told."""
_WRITTEN = {
    "queues": "queue",
    "launch": "",
    "restart.mode": "restart.policy",
    "pause": "pause.mode",
    "launch.env_file_digest": "env_file (its contents)",
    "max_workers": "workers.max",
    "backlog.sources": "backlog.source",
    "backend.python": "python",
}
"""Where the configuration has another word for a field."""
_NOT_WRITTEN = frozenset(
    {
        "name", "callbacks.on_crash", "callbacks.on_unhealthy", "health.callback", "autoscale.min", "autoscale.max",
        "backend.at_once",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Difference:
    """One key, as it is written in the configuration of a pool. `rolling`: it takes new workers."""

    key: str
    old: object
    new: object
    rolling: bool


@dataclass(frozen=True, slots=True)
class PoolPlan:
    name: str
    kind: Kind
    differences: tuple[Difference, ...] = ()

    @property
    def rolling(self) -> bool:
        return any(difference.rolling for difference in self.differences)


@dataclass(frozen=True, slots=True)
class Plan:
    """Pools in the order of the new configuration, then those that go."""

    pools: tuple[PoolPlan, ...]
    unchanged: tuple[str, ...]


def make_plan(old: Mapping[str, PoolSpec], new: Mapping[str, PoolSpec]) -> Plan:
    plans: list[PoolPlan] = []
    unchanged: list[str] = []
    for name, spec in new.items():
        if name not in old:
            plans.append(PoolPlan(name, "add"))
        elif differences := differ(old[name], spec):
            plans.append(PoolPlan(name, "change", differences))
        else:
            unchanged.append(name)
    plans.extend(PoolPlan(name, "remove") for name in old if name not in new)
    return Plan(tuple(plans), tuple(unchanged))


def differ(old: PoolSpec, new: PoolSpec) -> tuple[Difference, ...]:
    return tuple(_differences("", old, new, rolling=False))


def rolls(old: PoolSpec, new: PoolSpec) -> bool:
    """Whether workers of the old one must be replaced."""
    return any(_get(old, path) != _get(new, path) for path in _GIVEN_AT_START)


def taken_back(new: PoolSpec, old: PoolSpec) -> PoolSpec:
    """The new one, but for what the old one's workers were given when they started."""
    return replace(
        new, command=old.command, queues=old.queues, job=old.job, launch=old.launch, backend=old.backend,
        logs=replace(new.logs, mode=old.logs.mode, path=old.logs.path),
        health=replace(new.health, heartbeat=old.health.heartbeat),
    )  # fmt: skip


def _get(spec: PoolSpec, path: str) -> Any:
    value: Any = spec
    for name in path.split("."):
        value = getattr(value, name)
    return value


def _differences(prefix: str, old: Any, new: Any, *, rolling: bool) -> Iterator[Difference]:
    for field in fields(old):
        path = f"{prefix}{field.name}"
        before, after = getattr(old, field.name), getattr(new, field.name)
        if before == after or path in _NOT_WRITTEN:
            continue
        needs_workers = rolling or path in _GIVEN_AT_START
        if is_dataclass(before) and type(before) is type(after):
            yield from _differences(f"{path}.", before, after, rolling=needs_workers)
        elif path in {"launch.env", "launch.rlimits"}:
            yield from _entries(_written(path), dict(before), dict(after))
        else:
            yield Difference(_written(path), before, after, needs_workers)


def _entries(key: str, old: dict[str, Any], new: dict[str, Any]) -> Iterator[Difference]:
    for name in dict.fromkeys((*old, *new)):
        if old.get(name) != new.get(name):
            yield Difference(f"{key}.{name}", old.get(name), new.get(name), rolling=True)


def _written(path: str) -> str:
    head, _, rest = path.partition(".")
    if path in _WRITTEN:
        return _WRITTEN[path]
    return ".".join(filter(None, (_WRITTEN.get(head, head), rest)))
