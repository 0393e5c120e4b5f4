"""How many workers a pool should have: the queue's need, and every limit between it and the answer, each told by name.

    need → rounded up → tolerance → zero → min, max → stabilization     `consider`: what the pool wishes
         → budget → cooldown → max_step → leaving                       `settle`: what it gets now

Up at once, by `max_step` per cooldown; down only to the highest wish of the stabilization window. Who is leaving still
has its place: nobody is started in it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from math import ceil, inf
from typing import Literal, NamedTuple

from chaperone_async.core.demand import (
    AutoscalePolicy,
    Estimate,
    Present,
    Sample,
    in_flight,
    is_empty,
    learn,
    workers_needed,
)

ClampName = Literal[
    "unknown", "tolerance", "zero", "wake", "min", "max", "stabilization", "budget", "cooldown", "max_step", "leaving"
]
_ROUNDING = 1e-9  # what floating point adds must not become a worker, or a tick of the clock


class Clamp(NamedTuple):
    """One limit that changed the number, or (unknown) stood in for it."""

    name: ClampName
    before: int
    after: int
    why: str


class Wish(NamedTuple):
    """`wanted`: what the queue calls for now; `held`: that, or what it called for lately; never less."""

    raw: float | None
    wanted: int
    held: int
    steps: tuple[Clamp, ...]


class Allowance(NamedTuple):
    """A pool's part of a budget. `room`: so many more it may start now, since others have to go first."""

    share: int
    room: int


@dataclass(frozen=True, slots=True)
class Decision:
    """`raw`: workers that the queue calls for, not rounded; None: unknown. `wanted` counts those who are to stay."""

    at: float
    wanted: int
    from_: int
    raw: float | None
    steps: tuple[Clamp, ...]
    sample: Sample
    reason: str


@dataclass(frozen=True, slots=True)
class ScalerState:
    """`recent`: wishes (when, workers) that no later one exceeds, oldest and highest first."""

    estimate: Estimate = field(default_factory=Estimate)
    recent: tuple[tuple[float, int], ...] = ()
    grown_at: float = -inf
    changed_at: float = -inf
    empty_since: float | None = None


class _Course:
    """A number on its way through the limits."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.steps: list[Clamp] = []

    def clamp(self, name: ClampName, workers: int, why: str) -> None:
        if workers != self.workers or name == "unknown":
            self.steps.append(Clamp(name, self.workers, workers, why))
            self.workers = workers


def decide(
    policy: AutoscalePolicy, state: ScalerState, sample: Sample, present: Present
) -> tuple[Decision, ScalerState]:
    """For a pool that shares no budget."""
    wish, state = consider(policy, state, sample, present)
    return settle(policy, state, sample, present, wish, None)


def consider(policy: AutoscalePolicy, state: ScalerState, sample: Sample, present: Present) -> tuple[Wish, ScalerState]:
    state = replace(state, estimate=learn(state.estimate, sample), empty_since=_empty_since(state, sample, present))
    base = _within(policy, present.active)
    raw = workers_needed(policy, state.estimate, sample, present)
    course = _Course(present.active if raw is None else ceil(raw - _ROUNDING))
    if raw is None:
        course.clamp("unknown", present.active, "the backlog is unknown")
    else:
        if abs(raw - base) <= policy.tolerance * base:
            course.clamp("tolerance", base, f"{raw:.2f} is within {policy.tolerance:.0%} of {base}")
        _mind_zero(course, policy, state, sample, base)
    course.clamp("min", max(course.workers, policy.min), f"no fewer than {policy.min}")
    course.clamp("max", min(course.workers, policy.max), f"no more than {policy.max}")
    wanted = course.workers
    state = _remember(policy, state, sample.at, base, wanted)
    if 0 < wanted < base:  # for zero, it has waited long enough
        held = min(base, state.recent[0][1])
        course.clamp("stabilization", held, f"{held} were called for within {policy.stabilization:g} s")
    return Wish(raw, wanted, course.workers, tuple(course.steps)), state


def _within(policy: AutoscalePolicy, workers: int) -> int:
    return min(max(workers, policy.min), policy.max)


def _empty_since(state: ScalerState, sample: Sample, present: Present) -> float | None:
    """What is unknown may have been work: the waiting for zero begins again."""
    if not is_empty(sample, present):
        return None
    return sample.at if state.empty_since is None else state.empty_since


def _mind_zero(course: _Course, policy: AutoscalePolicy, state: ScalerState, sample: Sample, base: int) -> None:
    if policy.min > 0:
        return
    if state.empty_since is None:
        course.clamp("wake", max(course.workers, 1), "a job is there, or due")
    elif base == 0:
        course.clamp("zero", 0, "nothing is to be done")  # a remembered rate is no reason to wake
    elif sample.at - state.empty_since >= policy.scale_to_zero_after - _ROUNDING:
        course.clamp("zero", 0, f"empty for {policy.scale_to_zero_after:g} s")
    else:
        course.clamp("zero", max(course.workers, 1), f"not yet empty for {policy.scale_to_zero_after:g} s")


def _remember(policy: AutoscalePolicy, state: ScalerState, at: float, base: int, wanted: int) -> ScalerState:
    """Who comes to a pool that runs takes the workers it finds as called for."""
    since = at - policy.stabilization + _ROUNDING
    kept = [wish for wish in state.recent or ((at, base),) if wish[0] > since and wish[1] > wanted]
    return replace(state, recent=(*kept, (at, wanted)))


def settle(
    policy: AutoscalePolicy,
    state: ScalerState,
    sample: Sample,
    present: Present,
    wish: Wish,
    allowance: Allowance | None,
) -> tuple[Decision, ScalerState]:
    """`state` and `wish` are what `consider` returned for the same sample."""
    base, course = _within(policy, present.active), _Course(wish.held)
    if allowance is not None:
        course.clamp("budget", min(course.workers, allowance.share), f"{allowance.share} is its part of the budget")
    since = state.grown_at if course.workers > base else state.changed_at
    if sample.at - since < policy.cooldown - _ROUNDING:
        course.clamp("cooldown", base, f"the last change was less than {policy.cooldown:g} s ago")
    step = min(max(course.workers, base - policy.max_step), base + policy.max_step)
    course.clamp("max_step", step, f"by {policy.max_step} at a time")
    _leave_places(course, policy, present, allowance)
    workers, active = course.workers, present.active
    if workers != active:
        state = replace(state, changed_at=sample.at, grown_at=sample.at if workers > active else state.grown_at)
    steps = (*wish.steps, *course.steps)
    reason = _explain(policy, state.estimate, sample, present, wish.raw, workers, steps)
    return Decision(sample.at, workers, active, wish.raw, steps, sample, reason), state


def _leave_places(course: _Course, policy: AutoscalePolicy, present: Present, allowance: Allowance | None) -> None:
    """Growth takes only places that are free, those of the leaving not among them."""
    if course.workers <= present.active:
        return
    room = max(0, policy.max - present.active - present.leaving)
    course.clamp("leaving", min(course.workers, present.active + room), f"{present.leaving} have not left yet")
    if allowance is not None:
        full = "the budget's other workers have not left yet"
        course.clamp("budget", min(course.workers, present.active + allowance.room), full)


def _explain(
    policy: AutoscalePolicy,
    estimate: Estimate,
    sample: Sample,
    present: Present,
    raw: float | None,
    workers: int,
    steps: tuple[Clamp, ...],
) -> str:
    """One sentence: what is done, what the queue calls for, and what stood between."""
    done = f"{workers} as before" if workers == present.active else f"from {present.active} to {workers}"
    called = [] if raw is None else [f"{_called(policy, estimate, sample, present)} call for {raw:.2f}"]
    return f"{done}: " + "; ".join([*called, *(f"{step.name}: {step.why}" for step in steps)])


def _called(policy: AutoscalePolicy, estimate: Estimate, sample: Sample, present: Present) -> str:
    jobs = f"{sample.backlog} jobs waiting and {in_flight(sample, present)} in work"
    if policy.strategy == "python":
        return f"{policy.python}, told of {jobs}, asks; they"
    if policy.strategy == "backlog":
        return f"{jobs}, {policy.target:g} for each worker,"
    service = "an unknown time" if estimate.service is None else f"{estimate.service:.2f} s"
    return f"{jobs}, {estimate.rate:.2f} more a second, {service} each, to be taken within {policy.target:g} s,"


class Leaver(NamedTuple):
    """Who may be asked to go. `patiently`: it is busy, and must not be killed before its job's own time-out."""

    slot: int
    patiently: bool = False


class Candidate(NamedTuple):
    """A worker that may go. `busy` None: it does not tell. `idle_since` is for those that are idle."""

    slot: int
    busy: bool | None
    idle_since: float | None = None


def leavers(candidates: Iterable[Candidate]) -> tuple[int, ...]:
    """Slots in the order in which they go: the longest idle first, then who does not tell, the busy last; among equals
    the highest slot. A busy one is only ever asked to finish."""
    return tuple(candidate.slot for candidate in sorted(candidates, key=_precedence))


def _precedence(candidate: Candidate) -> tuple[int, float, int]:
    rank = {False: 0, None: 1, True: 2}[candidate.busy]
    since = candidate.idle_since if rank == 0 and candidate.idle_since is not None else inf
    return rank, since, -candidate.slot
