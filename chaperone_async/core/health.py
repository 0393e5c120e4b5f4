"""Counting verdicts: `failure_threshold` failures of one check in a row make a worker unhealthy, fewer degraded.

Checks of the process itself (`process`, `memory`, `heartbeat`) count from the start; active ones (http, tcp, exec,
python) not before `start_grace` has passed or its first success has come, like the start period of a container.
"""

from dataclasses import dataclass

from chaperone_async.core.events import CheckResult
from chaperone_async.core.reasons import Reason
from chaperone_async.core.spec import HealthPolicy

PASSIVE = frozenset({"process", "memory", "heartbeat"})


@dataclass(frozen=True, slots=True)
class Failing:
    """A check that failed `count` times in a row."""

    check: str
    count: int
    detail: str


def judge(
    policy: HealthPolicy, failing: tuple[Failing, ...], result: CheckResult, age: float, *, probed: bool
) -> tuple[Failing, ...]:
    """The failing checks after one more verdict on a worker that is awake for `age` seconds."""
    others = tuple(f for f in failing if f.check != result.check)
    if result.passed:
        return others
    if result.check not in PASSIVE and not probed and age < policy.start_grace:
        return failing
    before = next((f.count for f in failing if f.check == result.check), 0)
    return (*others, Failing(result.check, before + 1, result.detail))


def worst(failing: tuple[Failing, ...]) -> Failing | None:
    return max(failing, key=lambda f: f.count, default=None)


def is_unhealthy(policy: HealthPolicy, failing: tuple[Failing, ...]) -> bool:
    return any(f.count >= policy.failure_threshold for f in failing)


def active(policy: HealthPolicy) -> frozenset[str]:
    """The checks that must each pass once before a worker counts as ready."""
    made = {"http": policy.http, "tcp": policy.tcp, "exec": policy.exec, "python": policy.python or policy.callback}
    return frozenset(check for check, how in made.items() if how)


def reason_for(failing: Failing) -> Reason:
    return Reason.MEMORY if failing.check == "memory" else Reason.UNHEALTHY


def describe(failing: Failing) -> str:
    return f"{failing.check} check failed {failing.count} times in a row: {failing.detail}"
