"""One total of workers shared by several pools: to each what it needs, and where that is too much, by the work it has.

A pool's part is never more than its own queue calls for: one job anywhere gets a worker, not the budget. It is never
less than the pool's `min`, in-flight work counts, and nobody grows into the place of a worker that has yet to leave.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import floor, inf

from chaperone_async.core.demand import AutoscalePolicy, Present, Sample, in_flight
from chaperone_async.core.scaling import Allowance, Decision, ScalerState, consider, settle
from chaperone_async.core.spec import PoolSpec

_LOYALTY = 0.5  # of a worker: so much less of a remainder keeps who is there, or a worker would move for a hair
_TRIFLE = 1e-9  # the work of a pool that has none now: it comes last, and is not forgotten


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """`wanted` and `held` as in a `Wish`. `jobs`: waiting and in work; None: unknown, so the pool keeps what it has."""

    wanted: int
    held: int
    least: int
    present: Present
    jobs: int | None
    service: float | None  # seconds of work a job; None: unknown


def share(total: int, claims: Sequence[Claim]) -> tuple[Allowance, ...]:
    """In the order of the claims. The `least` of all must fit into the total. What nobody needs now is left to those
    who needed it lately."""
    active = [claim.present.active for claim in claims]
    parts = [claim.least for claim in claims]
    unknown = [claim.wanted if claim.jobs is None else claim.least for claim in claims]
    for highs, weights in (
        (unknown, [float(workers) for workers in active]),
        ([min(claim.wanted, 1) for claim in claims], _work(claims)),  # no pool sleeps through another's load
        ([claim.wanted for claim in claims], _work(claims)),
        ([claim.held for claim in claims], [float(claim.held) for claim in claims]),
    ):
        parts = apportion(total, parts, highs, weights, active)
    growth = [max(0, part - workers) for part, workers in zip(parts, active, strict=True)]
    free = total - sum(claim.present.active + claim.present.leaving for claim in claims)
    nothing = [0 for _ in claims]
    rooms = apportion(free, nothing, growth, [float(more) for more in growth], nothing)
    return tuple(Allowance(part, room) for part, room in zip(parts, rooms, strict=True))


def _work(claims: Sequence[Claim]) -> list[float]:
    """Seconds of work. A service time that nobody knows yet is taken to be that of the others."""
    known = [claim.service for claim in claims if claim.service is not None]
    usual = sum(known) / len(known) if known else 1.0
    return [(claim.jobs or 0) * (usual if claim.service is None else claim.service) for claim in claims]


def apportion(
    total: int, lows: Sequence[int], highs: Sequence[int], weights: Sequence[float], present: Sequence[int]
) -> list[int]:
    """Whole numbers from low to high, in proportion to the weights, that add up to the total if they can. Halves go by
    the largest remainder, and to who is there already. A high under its low is that low."""
    highs = [max(low, high) for low, high in zip(lows, highs, strict=True)]
    if sum(lows) >= total or sum(highs) <= total:
        return list(lows) if sum(lows) >= total else highs
    weights = [max(weight, _TRIFLE) for weight in weights]
    quotas = _fill(total, list(zip(lows, highs, weights, strict=True)))
    parts = [floor(quota + _TRIFLE) for quota in quotas]

    def claim(index: int) -> float:
        return quotas[index] - parts[index] + (_LOYALTY if present[index] > parts[index] else 0.0)

    open_parts = [index for index in range(len(parts)) if parts[index] < highs[index]]
    for index in sorted(open_parts, key=claim, reverse=True)[: total - sum(parts)]:
        parts[index] += 1
    return parts


def _fill(total: int, bounds: Sequence[tuple[int, int, float]]) -> list[float]:
    """As water finds its level: each (low, high, weight) is a vessel, and together they hold the total."""

    def filled(level: float) -> list[float]:
        return [min(max(level * weight, low), high) for low, high, weight in bounds]

    below = 0.0
    for level in sorted(edge / weight for low, high, weight in bounds for edge in (low, high)):
        most = sum(filled(level))
        if most >= total:
            least = sum(filled(below))
            part = (total - least) / (most - least) if most > least else 0.0
            return filled(below + part * (level - below))
        below = level
    return filled(below)


def decide_together(
    total: int | None,
    policies: Mapping[str, AutoscalePolicy],
    states: Mapping[str, ScalerState],
    samples: Mapping[str, Sample],
    presents: Mapping[str, Present],
) -> tuple[dict[str, Decision], dict[str, ScalerState]]:
    """One decision for each pool, all by its name. `total` None: there is no budget."""
    wishes, claims, after, decisions = {}, [], {}, {}
    for name, policy in policies.items():
        sample, present = samples[name], presents[name]
        wish, state = consider(policy, states[name], sample, present)
        wishes[name], after[name] = wish, state
        jobs = None if sample.backlog is None else sample.backlog + in_flight(sample, present)
        claims.append(
            Claim(
                wanted=wish.wanted,
                held=wish.held,
                least=policy.min,
                present=present,
                jobs=jobs,
                service=state.estimate.service,
            )
        )
    allowances = [None for _ in claims] if total is None else share(total, claims)
    for (name, policy), allowance in zip(policies.items(), allowances, strict=True):
        decisions[name], after[name] = settle(
            policy, after[name], samples[name], presents[name], wishes[name], allowance
        )
    return decisions, after


def most_memory(pools: Sequence[PoolSpec], total: int | None) -> int:
    """Bytes that the memory limits let all workers have who may be there at once. `total`: the budget, if any."""
    wanted = sum(pool.workers * pool.health.memory_limit for pool in pools)
    scaled = [(pool.health.memory_limit, pool.autoscale) for pool in pools if pool.autoscale is not None]
    left = inf if total is None else total - sum(policy.min for _, policy in scaled)
    for limit, policy in sorted(scaled, key=lambda one: one[0], reverse=True):
        more = int(min(policy.max - policy.min, left))
        wanted += more * limit
        left -= more
    return wanted
