"""The scaler: what a queue calls for, each limit by its name, and what holds whatever comes."""

from dataclasses import replace
from itertools import pairwise
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaperone_async.core.demand import AutoscalePolicy, Estimate, Present, Sample, learn, workers_needed
from chaperone_async.core.scaling import Candidate, Decision, ScalerState, decide, leavers

SPARE = AutoscalePolicy(min=0, max=10, target=10, max_step=10, cooldown=0, stabilization=0)
CALM = AutoscalePolicy(min=1, max=10, target=10)
FOR_SPEED = AutoscalePolicy(strategy="latency", target=2, min=1, max=20, max_step=20, cooldown=0, stabilization=0)


def names(decision: Decision) -> list[str]:
    return [step.name for step in decision.steps]


def replay(
    policy: AutoscalePolicy, samples: list[Sample], active: int, state: ScalerState | None = None
) -> list[Decision]:
    """As if every worker started and left at once."""
    state, decisions = state or ScalerState(), []
    for sample in samples:
        decision, state = decide(policy, state, sample, Present(active))
        decisions.append(decision)
        active = decision.wanted
    return decisions


def one(policy: AutoscalePolicy, present: Present, backlog: int | None, busy: int | None = 0) -> Decision:
    sample = Sample(at=0, backlog=backlog, busy=busy)
    settled = ScalerState(Estimate(service=1.0, last=sample), ((-1000.0, 0),))
    return decide(policy, settled, sample, present)[0]


@pytest.mark.parametrize(
    ("backlog", "busy", "active", "wanted", "clamps"),
    [
        (95, 0, 1, 10, []),
        (41, 0, 1, 5, []),
        (35, 6, 1, 5, []),  # what is in work counts
        (1, 0, 5, 1, []),
        (54, 0, 5, 5, ["tolerance"]),
        (56, 0, 5, 6, []),
        (1000, 0, 5, 10, ["max"]),
        (1, 0, 0, 1, []),
        (0, 0, 0, 0, []),
        (0, 0, 3, 1, ["zero"]),
        (0, 3, 3, 1, []),
        (None, None, 4, 4, ["unknown"]),
        (None, None, 14, 10, ["unknown", "max"]),
    ],
)
def test_backlog_asks_for_a_worker_for_so_many_jobs(
    backlog: int | None, busy: int | None, active: int, wanted: int, clamps: list[str]
) -> None:
    decision = one(SPARE, Present(active), backlog, busy)
    assert (decision.wanted, names(decision)) == (wanted, clamps)


@pytest.mark.parametrize(
    ("service", "rate", "backlog", "busy", "needed"),
    [
        (0.1, 10, 0, 1, 1.0),  # the offered load, and no more
        (0.1, 10, 40, 1, 2.9),  # and what drains forty in two seconds
        (1, 4, 0, 4, 4.0),
        (1, 4, 12, 4, 8.0),
        (60, 0.1, 0, 6, 6.0),
        (60, 0.1, 3, 6, 8.9),  # long jobs: a worker for each that waits, less who will be done by then
        (0.5, 0, 1, 0, 0.2),
    ],
)
def test_latency_asks_for_who_can_take_all_that_waits_within_the_target(
    service: float, rate: float, backlog: int, busy: int, needed: float
) -> None:
    sample = Sample(at=0, backlog=backlog, busy=busy)
    found = workers_needed(FOR_SPEED, Estimate(rate, service), sample, Present(5))
    assert found == pytest.approx(needed, abs=0.06)


def test_a_job_that_takes_far_longer_than_usual_holds_a_worker_by_itself() -> None:
    sample = Sample(at=0, backlog=0, busy=3, running=(0.05, 50.0, 3.0))
    assert workers_needed(FOR_SPEED, Estimate(0, 0.1), sample, Present(5)) == pytest.approx(2 + 1 / 21)


def test_a_worker_that_does_ten_jobs_at_a_time_counts_as_ten() -> None:
    sample = Sample(at=0, backlog=40, busy=10, running=(9.0, *[0.1] * 9), at_once=10)
    alone = workers_needed(FOR_SPEED, Estimate(10, 1), replace(sample, at_once=1), Present(5))
    assert workers_needed(FOR_SPEED, Estimate(10, 1), sample, Present(5)) == pytest.approx((alone or 0) / 10)
    assert workers_needed(FOR_SPEED, Estimate(), sample, Present(9)) == 5


def test_a_job_that_waits_too_long_asks_for_one_more_whatever_the_estimate_but_never_more_than_there_are_jobs() -> None:
    sample = Sample(at=0, backlog=3, oldest_age=2.1, busy=4)
    assert workers_needed(FOR_SPEED, Estimate(0, 0.001), sample, Present(4)) == 5
    assert workers_needed(FOR_SPEED, Estimate(0, 0.001), sample, Present(9)) == 7


def test_while_no_job_has_told_how_long_it_takes_one_more_is_tried_at_a_time() -> None:
    assert workers_needed(FOR_SPEED, Estimate(), Sample(at=0, backlog=9), Present(2)) == 3
    assert workers_needed(FOR_SPEED, Estimate(), Sample(at=0, backlog=1), Present(2)) == 1
    assert workers_needed(FOR_SPEED, Estimate(), Sample(at=0, backlog=0, busy=1), Present(2)) == 1
    assert workers_needed(FOR_SPEED, Estimate(), Sample(at=0, backlog=0, busy=9), Present(2)) == 2


def test_who_is_leaving_takes_a_job_along_and_keeps_its_place() -> None:
    decision = one(SPARE, Present(2, leaving=7), 100, 7)
    assert (decision.raw, decision.wanted, names(decision)) == (10.0, 3, ["leaving"])
    assert one(SPARE, Present(5, leaving=9), 100).wanted == 5


def test_growth_is_at_once_and_then_by_a_step_per_cooldown() -> None:
    decisions = replay(CALM, [Sample(at=float(at), backlog=500) for at in range(8)], active=1)
    assert [decision.wanted for decision in decisions] == [2, 2, 2, 3, 3, 3, 4, 4]
    assert [names(decision)[-1] for decision in decisions[:2]] == ["max_step", "cooldown"]


def test_shrinking_waits_for_the_window_and_stops_at_its_highest_wish() -> None:
    backlogs = [60] * 10 + [30] * 25 + [0] * 40
    samples = [Sample(at=float(at), backlog=backlog, busy=0) for at, backlog in enumerate(backlogs)]
    wanted = [decision.wanted for decision in replay(CALM, samples, active=6)]
    assert wanted[:39] == [6] * 39
    assert wanted[39:46] == [5, 5, 5, 4, 4, 4, 3]
    assert wanted[64:] == [2, 2, 2] + [1] * 8


def test_a_shrink_does_not_delay_the_growth_that_follows() -> None:
    policy = replace(CALM, stabilization=0)
    samples = [Sample(at=0, backlog=50), Sample(at=3, backlog=10), Sample(at=4, backlog=90), Sample(at=5, backlog=10)]
    assert [decision.wanted for decision in replay(policy, samples, active=5)] == [5, 4, 5, 5]


def test_a_pool_found_running_is_not_shrunk_at_the_first_look() -> None:
    assert replay(CALM, [Sample(at=50.0, backlog=0)], active=8)[0].wanted == 8


def test_bounds_that_were_changed_are_kept_at_once() -> None:
    assert one(replace(CALM, max=4), Present(9), 500).wanted == 4
    assert one(replace(CALM, min=3), Present(0), 0).wanted == 3
    assert one(replace(CALM, min=3, max=4), Present(0, leaving=3), 0).wanted == 1


def test_an_unknown_backlog_holds_and_says_so() -> None:
    samples = [Sample(at=0, backlog=50), *(Sample(at=float(at)) for at in range(1, 100))]
    decisions = replay(CALM, samples, active=5)
    assert {decision.wanted for decision in decisions} == {5}
    assert decisions[-1].reason == "5 as before: unknown: the backlog is unknown"
    assert decisions[-1].raw is None


def test_zero_comes_after_being_empty_for_long_enough_and_a_job_wakes_at_once() -> None:
    policy = AutoscalePolicy(min=0, max=5, scale_to_zero_after=60)
    backlogs = [1] + [0] * 70 + [3]
    samples = [Sample(at=float(at), backlog=backlog, busy=0) for at, backlog in enumerate(backlogs)]
    wanted = [decision.wanted for decision in replay(policy, samples, active=1)]
    assert wanted == [1] * 61 + [0] * 10 + [1]


def test_work_that_is_in_hand_or_unknown_begins_the_waiting_for_zero_anew() -> None:
    policy = AutoscalePolicy(min=0, max=5, scale_to_zero_after=10)
    for between in (Sample(at=8, backlog=0, busy=1), Sample(at=8)):
        samples = [Sample(at=0, backlog=0), between, Sample(at=12, backlog=0), Sample(at=21, backlog=0)]
        samples.append(Sample(at=22, backlog=0))
        assert [decision.wanted for decision in replay(policy, samples, active=1)] == [1, 1, 1, 1, 0]


def test_a_delayed_job_wakes_when_it_is_due_and_not_before() -> None:
    policy = AutoscalePolicy(min=0, max=5)
    samples = [Sample(at=float(at), backlog=0, next_due=5.0) for at in range(8)]
    decisions = replay(policy, samples, active=0)
    assert [decision.wanted for decision in decisions] == [0] * 5 + [1] * 3
    assert "wake: a job is there, or due" in decisions[5].reason


def test_a_remembered_rate_wakes_nobody() -> None:
    policy = replace(FOR_SPEED, min=0)
    busy = ScalerState(Estimate(rate=5, service=1.0))
    assert replay(policy, [Sample(at=0, backlog=0, busy=0)], active=0, state=busy)[0].wanted == 0


def test_a_decision_explains_itself_in_one_sentence() -> None:
    decision, _ = decide(CALM, ScalerState(), Sample(at=0, backlog=117, busy=3), Present(4, leaving=6))
    assert decision.reason == (
        "4 as before: 117 jobs waiting and 0 in work, 10 for each worker, call for 11.70; "
        "max: no more than 10; max_step: by 1 at a time; leaving: 6 have not left yet"
    )
    assert [(step.name, step.before, step.after) for step in decision.steps] == [
        ("max", 12, 10),
        ("max_step", 10, 5),
        ("leaving", 5, 4),
    ]
    sample = Sample(at=1, backlog=40, busy=4)
    state = ScalerState(Estimate(rate=2, service=0.5, last=sample))
    assert decide(FOR_SPEED, state, sample, Present(5))[0].reason == (
        "from 5 to 10: 40 jobs waiting and 4 in work, 2.00 more a second, 0.50 s each, to be taken within 2 s, "
        "call for 9.60"
    )


def test_the_rate_is_counted_or_follows_from_what_became_of_the_backlog() -> None:
    counted = steadily({"arrived": 20})
    inferred = steadily({})
    assert counted.rate == pytest.approx(2, rel=0.01)
    assert inferred.rate == pytest.approx(2, rel=0.01)


def steadily(more: dict[str, int]) -> Estimate:
    """Two jobs a second come, one is done, for some minutes."""
    estimate = Estimate()
    for turn in range(40):
        arrived = turn * more["arrived"] if more else None
        estimate = learn(estimate, Sample(at=turn * 10.0, backlog=turn * 10, completed=turn * 10, arrived=arrived))
    return estimate


def test_the_service_time_is_measured_or_follows_from_who_was_busy_and_outlives_silence() -> None:
    measured = learn(
        Estimate(last=Sample(at=0, backlog=0, completed=5, worked=9)), Sample(at=1, backlog=0, completed=7, worked=13)
    )
    assert measured.service == 2
    estimate = Estimate()
    for at in range(101):  # three busy workers, a job done every twenty seconds
        estimate = learn(estimate, Sample(at=float(at), backlog=0, busy=3, completed=at // 20))
    assert estimate.service == pytest.approx(60)
    for at in range(101, 10_000, 100):
        estimate = learn(estimate, Sample(at=float(at), backlog=0, busy=0, completed=5))
    assert estimate.service == pytest.approx(60)


def test_a_counter_that_began_anew_teaches_nothing() -> None:
    before = Estimate(1.0, 2.0, last=Sample(at=0, backlog=0, completed=900, worked=90, arrived=900))
    after = learn(before, Sample(at=1, backlog=0, completed=1, worked=0.1, arrived=1))
    assert (after.rate, after.service) == (before.rate, before.service)


def test_a_backlog_is_learnt_from_once() -> None:
    estimate = Estimate()
    for at in range(101):  # it is read each five seconds, and a job a second is done
        read_at = at // 5 * 5
        sample = Sample(at=float(at), backlog=100 - read_at, busy=1, completed=at, worked=float(at), read_at=read_at)
        estimate = learn(estimate, sample)
    assert (estimate.rate, estimate.service) == (0.0, 1.0)


def test_a_sample_that_comes_late_teaches_nothing() -> None:
    estimate = Estimate(last=Sample(at=10, backlog=0))
    assert learn(estimate, Sample(at=9, backlog=4)) == estimate


def test_the_longest_idle_goes_first_and_the_busy_last() -> None:
    candidates = [
        Candidate(0, busy=True),
        Candidate(1, busy=False, idle_since=50),
        Candidate(2, busy=None),
        Candidate(3, busy=False, idle_since=20),
        Candidate(4, busy=True),
        Candidate(5, busy=False, idle_since=50),
    ]
    assert leavers(candidates) == (3, 5, 1, 2, 4, 0)
    assert leavers([Candidate(0, busy=False), Candidate(1, busy=False, idle_since=3)]) == (1, 0)


policies = st.builds(
    lambda least, more, **given: AutoscalePolicy(min=least, max=max(1, least + more), **given),
    st.integers(0, 5),
    st.integers(0, 30),
    strategy=st.sampled_from(["backlog", "latency"]),
    target=st.floats(0.1, 50),
    max_step=st.integers(1, 8),
    cooldown=st.sampled_from([0.0, 3.0]),
    tolerance=st.floats(0, 0.5),
    stabilization=st.sampled_from([0.0, 30.0]),
    scale_to_zero_after=st.sampled_from([0.0, 60.0]),
)
estimates = st.builds(Estimate, st.floats(0, 50), st.none() | st.floats(0.001, 100))
backlogs = st.integers(0, 1000)
samples = st.tuples(st.none() | backlogs, st.none() | st.integers(0, 40), st.none() | st.floats(0, 100))


@given(policies, estimates, st.lists(st.tuples(samples, st.integers(0, 3)), max_size=40), st.integers(0, 12))
def test_active_and_leaving_together_stay_within_bounds(
    policy: AutoscalePolicy,
    estimate: Estimate,
    turns: list[tuple[tuple[int | None, int | None, float | None], int]],
    active: int,
) -> None:
    active, leaving, state = min(max(active, policy.min), policy.max), 0, ScalerState(estimate)
    for at, ((backlog, busy, age), gone) in enumerate(turns):
        leaving = max(0, leaving - gone)
        sample = Sample(at=float(at), backlog=backlog, busy=busy, oldest_age=age)
        decision, state = decide(policy, state, sample, Present(active, leaving))
        leaving += max(0, active - decision.wanted)
        assert abs(decision.wanted - active) <= policy.max_step
        active = decision.wanted
        assert policy.min <= active
        assert active + leaving <= policy.max
        assert backlog is not None or decision.wanted == decision.from_


@given(policies, estimates, backlogs, st.integers(0, 30))
def test_a_constant_input_comes_to_rest(policy: AutoscalePolicy, estimate: Estimate, backlog: int, active: int) -> None:
    active = min(max(active, policy.min), policy.max)
    turns = [Sample(at=float(at), backlog=backlog, busy=0) for at in range(250)]
    state, wanted = ScalerState(estimate), []
    for sample in turns:
        held = replace(state, estimate=replace(estimate, last=sample))  # nothing new is learnt
        decision, state = decide(policy, held, sample, Present(active))
        active = decision.wanted
        wanted.append(active)
    assert len(set(wanted[200:])) == 1
    assert turns_of(wanted) <= 1 + (policy.min == 0)  # to zero it goes in a second go


def turns_of(wanted: list[int]) -> int:
    """How often growth follows shrinking, or the other way round."""
    moves = [after > before for before, after in pairwise(wanted) if after != before]
    return sum(before != after for before, after in pairwise(moves))


@given(policies, estimates, backlogs, backlogs, st.integers(0, 40), st.integers(0, 30), st.floats(0, 60) | st.none())
def test_more_backlog_never_asks_for_fewer(
    policy: AutoscalePolicy, estimate: Estimate, one: int, other: int, busy: int, active: int, age: float | None
) -> None:
    def wanted(backlog: int) -> int:
        sample = Sample(at=100, backlog=backlog, busy=busy, oldest_age=age if backlog else None)
        return decide(policy, ScalerState(replace(estimate, last=sample)), sample, Present(active))[0].wanted

    assert wanted(min(one, other)) <= wanted(max(one, other))


@given(policies, estimates)
def test_every_pool_that_may_comes_to_zero_and_wakes_for_one_job(policy: AutoscalePolicy, estimate: Estimate) -> None:
    policy = replace(policy, min=0)
    turns = [Sample(at=float(at), backlog=0, busy=0) for at in range(400)]
    decisions = replay(policy, [*turns, Sample(at=400, backlog=1, busy=0)], policy.max, ScalerState(estimate))
    assert decisions[-2].wanted == 0
    assert decisions[-1].wanted >= 1


def test_the_state_begins_as_if_nothing_had_changed_for_ever() -> None:
    assert (ScalerState().grown_at, ScalerState().changed_at) == (-inf, -inf)
