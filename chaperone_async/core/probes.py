"""The supervisor's own probes, rolled up from what is known: interface §5's table of situations.

livez fails only when the supervisor itself is broken; startupz until every pool has once been at its minimum; readyz
while a pool that matters is under its minimum or has been given up, and from the first moment of a shutdown.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from chaperone_async.core.pool import Pool

STALLED_AFTER = 5.0
"""Seconds without a sign of life from the supervision task; it gives one every second."""


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    ok: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Supervised:
    """`pulse_age`: seconds since the last sign of life. `broken`: pools whose supervision has failed, and why;
    `degraded`: those that work with less than they should have, which fails no probe."""

    pools: Sequence[Pool]
    pulse_age: float
    draining: bool
    broken: Sequence[tuple[str, str]] = ()
    degraded: Sequence[tuple[str, str]] = ()


def livez(seen: Supervised) -> list[Check]:
    stalled = seen.pulse_age > STALLED_AFTER
    checks = [Check("supervision", not stalled, f"no sign of life for {seen.pulse_age:.1f} s" if stalled else "")]
    return checks + [Check(f"pool/{name}", ok=False, reason=why) for name, why in seen.broken]


def startupz(seen: Supervised) -> list[Check]:
    return [check for check in livez(seen) if not check.ok] + [_has_started(pool) for pool in seen.pools]


def readyz(seen: Supervised) -> list[Check]:
    checks = [check for check in livez(seen) if not check.ok]
    if seen.draining:
        checks.append(Check("draining", ok=False, reason="the supervisor shuts down"))
    degraded = dict(seen.degraded)
    return checks + [_told(_is_ready(pool), degraded.get(pool.name)) for pool in seen.pools]


def _told(check: Check, degraded: str | None) -> Check:
    """One that passes may have something to say, too."""
    return Check(check.name, ok=True, reason=f"degraded: {degraded}") if check.ok and degraded else check


def _has_started(pool: Pool) -> Check:
    if pool.started or _does_not_matter(pool) or pool.hold is not None:
        return Check(pool.name, ok=True)
    return Check(pool.name, ok=False, reason=f"{pool.ready_count} of at least {pool.least_ready} workers ready")


def _is_ready(pool: Pool) -> Check:
    if _does_not_matter(pool):
        return Check(pool.name, ok=True)
    if pool.fatal is not None:
        return Check(pool.name, ok=False, reason=f"fatal: {pool.fatal}")
    if pool.hold is not None and pool.hold.why == "pause":
        return Check(pool.name, ok=True)
    if not pool.started:
        return Check(pool.name, ok=False, reason=f"starting: {pool.ready_count} of {pool.least_ready} workers ready")
    if not pool.ready:
        why = "all workers crash soon after their start" if pool.breaker else "too few workers"
        return Check(pool.name, ok=False, reason=f"{why}: {pool.ready_count} of at least {pool.least_ready} ready")
    return Check(pool.name, ok=True)


def _does_not_matter(pool: Pool) -> bool:
    return not pool.spec.essential or (pool.fatal is not None and pool.spec.on_fatal == "ignore")
