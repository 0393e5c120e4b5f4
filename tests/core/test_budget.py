"""One total for several pools: Horizon's vectors as it answers them, and ours without its flaws."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaperone_async.core.budget import Claim, apportion, decide_together, share
from chaperone_async.core.demand import AutoscalePolicy, Estimate, Present, Sample
from chaperone_async.core.scaling import ScalerState
from tests.core.horizon import Horizon, Queue

BALANCED = {"A": Queue(100, 0.2, 5), "B": Queue(10, 4.0, 5)}


def test_horizon_by_time_grows_one_pool_only_when_the_other_has_left_its_place() -> None:
    horizon = Horizon(most=10, strategy="time")
    assert {name: round(want, 2) for name, want in horizon.wants(BALANCED).items()} == {"A": 3.33, "B": 6.67}
    assert horizon.scale(BALANCED) == {"A": 4, "B": 5}
    assert horizon.scale({"A": Queue(100, 0.2, 4), "B": Queue(10, 4.0, 5)}) == {"A": 4, "B": 6}
    assert horizon.scale({"A": Queue(100, 0.2, 4), "B": Queue(10, 4.0, 6)}) == {"A": 4, "B": 6}


def test_horizon_by_size_looks_at_the_number_of_jobs_alone() -> None:
    horizon = Horizon(most=10, strategy="size")
    assert {name: round(want, 2) for name, want in horizon.wants(BALANCED).items()} == {"A": 9.09, "B": 0.91}
    assert horizon.scale(BALANCED) == {"A": 5, "B": 4}


def test_horizon_shrinks_idle_pools_together() -> None:
    assert Horizon().scale({"A": Queue(0, 0.2, 4), "B": Queue(0, 4.0, 6)}) == {"A": 3, "B": 5}


def test_horizon_gives_everything_to_whoever_comes_first_after_a_snapshot() -> None:
    assert Horizon(shift=5).scale({"A": Queue(3, 0.0, 1), "B": Queue(900, 0.0, 1)}) == {"A": 6, "B": 4}


def test_horizon_starts_workers_in_the_places_of_those_who_have_yet_to_leave() -> None:
    after = Horizon().scale({"A": Queue(100, 0.2, 3, leaving=2), "B": Queue(10, 3.0, 5)})
    assert after["A"] + 2 + after["B"] == 11


def claim(
    jobs: int | None,
    service: float | None = 1.0,
    active: int = 5,
    leaving: int = 0,
    *,
    wanted: int = 10,
    held: int = 0,
    least: int = 1,
) -> Claim:
    present = Present(active, leaving)
    return Claim(wanted=wanted, held=max(held, wanted), least=least, present=present, jobs=jobs, service=service)


def parts(total: int, *claims: Claim) -> list[int]:
    return [allowance.share for allowance in share(total, claims)]


def rooms(total: int, *claims: Claim) -> list[int]:
    return [allowance.room for allowance in share(total, claims)]


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ([claim(100, 0.2, 1), claim(10, 4.0, 1)], [3, 7]),  # a third of the work, and two
        ([claim(100, 0.2), claim(10, 4.0)], [4, 6]),  # as Horizon: nobody moves for a third of a worker
        ([claim(100, None), claim(10, None)], [9, 1]),  # by jobs, where nothing is known of their length
        ([claim(1, wanted=1, active=0, least=0), claim(1000, active=10)], [1, 9]),  # who sleeps is woken
        ([claim(3, None, 1), claim(900, None, 1)], [1, 9]),  # flaw a: a forgotten runtime is not a wish for all
        ([claim(1, 60.0, wanted=1), claim(50, 0.1)], [1, 9]),  # flaw c: one job gets one worker
        ([claim(1, 60.0, wanted=1), claim(5, 0.1, wanted=2)], [1, 2]),  # and nobody more than it needs
        ([claim(0, 1.0, wanted=1), claim(500, 1.0)], [1, 9]),  # flaw f: without work, the least that was asked for
        ([claim(0, 1.0, wanted=3, least=3), claim(500, 1.0)], [3, 7]),
        ([claim(0, 1.0, wanted=1, held=4), claim(3, 1.0, wanted=3)], [4, 3]),  # what was needed lately, while free
        ([claim(0, 1.0, wanted=1, held=4), claim(9, 1.0, wanted=8)], [2, 8]),
        ([claim(None, 1.0, 4, wanted=4), claim(500, 1.0)], [4, 6]),  # unknown keeps what it has
        ([claim(4, None, wanted=6), claim(4, 2.0, wanted=6)], [5, 5]),  # an unknown time is as the others'
    ],
)
def test_each_gets_what_it_needs_or_its_part_by_work(claims: Sequence[Claim], expected: list[int]) -> None:
    assert parts(10, *claims) == expected


def test_who_is_leaving_counts_against_the_total() -> None:
    assert rooms(10, claim(100, 0.2, 3, leaving=2), claim(10, 4.0, 5)) == [0, 0]
    assert rooms(10, claim(100, 0.2, 3, leaving=1), claim(10, 4.0, 5)) == [0, 1]
    assert rooms(10, claim(100, 0.2, 3), claim(10, 4.0, 5)) == [0, 2]
    assert rooms(10, claim(9, 1.0, 9, leaving=4)) == [0]


def test_free_places_are_shared_by_how_many_each_lacks() -> None:
    assert rooms(12, claim(9, 1.0, 1, wanted=9), claim(3, 1.0, 1, 6, wanted=3)) == [3, 1]


def test_work_in_hand_counts_so_that_a_queue_in_the_middle_of_its_jobs_keeps_its_workers() -> None:
    """Flaw d. Both have four jobs of the same length; those of A are all in work."""
    policy = AutoscalePolicy(target=0.5, max=8, max_step=8, cooldown=0, stabilization=0)
    decisions, _ = decide_together(
        8,
        {"A": policy, "B": policy},
        {"A": ScalerState(Estimate(service=5.0)), "B": ScalerState(Estimate(service=5.0))},
        {"A": Sample(at=0, backlog=0, busy=4), "B": Sample(at=0, backlog=4, busy=0)},
        {"A": Present(4), "B": Present(4)},
    )
    assert {name: decision.wanted for name, decision in decisions.items()} == {"A": 4, "B": 4}


def test_a_decision_says_what_the_budget_did() -> None:
    policy = AutoscalePolicy(target=1, max=9, max_step=9, cooldown=0)
    decisions, _ = decide_together(
        10,
        {"A": policy, "B": policy},
        {"A": ScalerState(Estimate(service=1.0)), "B": ScalerState(Estimate(service=1.0))},
        {"A": Sample(at=0, backlog=50), "B": Sample(at=0, backlog=50)},
        {"A": Present(2), "B": Present(2, leaving=4)},
    )
    assert [(step.name, step.after, step.why) for step in decisions["A"].steps[1:]] == [
        ("budget", 5, "5 is its part of the budget"),
        ("budget", 3, "the budget's other workers have not left yet"),
    ]


def test_without_a_budget_nobody_minds_the_others() -> None:
    policy = AutoscalePolicy(target=1, max=9, max_step=9, cooldown=0)
    names = ("A", "B")
    decisions, _ = decide_together(
        None,
        dict.fromkeys(names, policy),
        dict.fromkeys(names, ScalerState()),
        dict.fromkeys(names, Sample(at=0, backlog=50)),
        dict.fromkeys(names, Present(2)),
    )
    assert [decision.wanted for decision in decisions.values()] == [9, 9]


@pytest.mark.parametrize(
    ("total", "lows", "highs", "weights", "expected"),
    [
        (10, [0, 0, 0], [10, 10, 10], [1, 1, 1], [4, 3, 3]),
        (10, [0, 0, 0], [2, 10, 10], [1, 1, 1], [2, 4, 4]),
        (10, [5, 0, 0], [10, 10, 10], [1, 1, 8], [5, 1, 4]),
        (10, [0, 0], [3, 3], [1, 9], [3, 3]),
        (1, [1, 1], [9, 9], [1, 9], [1, 1]),
        (5, [0, 0], [9, 9], [0, 0], [3, 2]),
        (5, [0, 0], [9, 9], [0, 7], [0, 5]),
        (0, [], [], [], []),
    ],
)
def test_parts_are_in_proportion_within_their_bounds(
    total: int, lows: list[int], highs: list[int], weights: list[float], expected: list[int]
) -> None:
    assert apportion(total, lows, highs, weights, [0 for _ in lows]) == expected


claims = st.lists(
    st.builds(
        lambda least, wanted, held, present, jobs, service: Claim(
            wanted=least + wanted, held=least + wanted + held, least=least, present=present, jobs=jobs, service=service
        ),
        st.integers(0, 3),
        st.integers(0, 30),
        st.integers(0, 5),
        st.builds(Present, st.integers(0, 20), st.integers(0, 5)),
        st.none() | st.integers(0, 10_000),
        st.none() | st.floats(0, 1000),
    ),
    min_size=1,
    max_size=6,
)


@given(claims, st.integers(0, 60))
def test_the_parts_never_exceed_the_total_and_never_leave_needed_workers_unused(claims: list[Claim], more: int) -> None:
    total = more + sum(claim.least for claim in claims)
    allowances = share(total, claims)
    given_out = sum(allowance.share for allowance in allowances)
    assert given_out == min(total, sum(claim.held for claim in claims))
    for claimed, allowance in zip(claims, allowances, strict=True):
        assert claimed.least <= allowance.share <= claimed.held
    present = sum(claim.present.active + claim.present.leaving for claim in claims)
    assert sum(allowance.room for allowance in allowances) <= max(0, total - present)


@given(claims, st.integers(0, 60))
def test_parts_that_were_taken_are_given_again(claims: list[Claim], more: int) -> None:
    total = more + sum(claim.least for claim in claims)
    known = [replace(claim, jobs=claim.jobs or 0) for claim in claims]
    first = [allowance.share for allowance in share(total, known)]
    taken = [replace(claim, present=Present(part)) for claim, part in zip(known, first, strict=True)]
    assert [allowance.share for allowance in share(total, taken)] == first


turns = st.lists(
    st.tuples(
        st.lists(st.none() | st.integers(0, 300), min_size=3, max_size=3),
        st.lists(st.integers(0, 3), min_size=3, max_size=3),
    ),
    max_size=30,
)


@given(turns, st.integers(3, 20), st.integers(1, 9), st.sampled_from(["backlog", "latency"]))
def test_the_budget_is_never_exceeded_counting_who_is_leaving(
    turns: list[tuple[list[int | None], list[int]]], total: int, step: int, strategy: str
) -> None:
    policy = AutoscalePolicy(
        strategy="backlog" if strategy == "backlog" else "latency", target=2, max_step=step, cooldown=0, stabilization=3
    )
    names = ("A", "B", "C")
    states = dict.fromkeys(names, ScalerState())
    active, leaving = dict.fromkeys(names, 1), dict.fromkeys(names, 0)
    for at, (backlogs, gone) in enumerate(turns):
        leaving = {name: max(0, leaving[name] - count) for name, count in zip(names, gone, strict=True)}
        samples = {name: Sample(at=at, backlog=backlog) for name, backlog in zip(names, backlogs, strict=True)}
        presents = {name: Present(active[name], leaving[name]) for name in names}
        decisions, states = decide_together(total, dict.fromkeys(names, policy), states, samples, presents)
        for name, decision in decisions.items():
            leaving[name] += max(0, active[name] - decision.wanted)
            active[name] = decision.wanted
        assert sum(active.values()) + sum(leaving.values()) <= total
        assert all(active.values())
