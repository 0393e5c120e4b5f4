"""How fast a queue fills and empties, by hand and by chance."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaperone_async.core.flow import WINDOW, Flow, Look, arrivals, flow, follow, time_to_clear


def followed(*looks: Look) -> tuple[Look, ...]:
    kept: tuple[Look, ...] = ()
    for look in looks:
        kept = follow(kept, look)
    return kept


@pytest.mark.parametrize(
    ("looks", "growth", "completions", "arrived"),
    [
        ([Look(0, 10, 0)], None, None, None),
        ([Look(0, 10, 0), Look(60, 10, 0)], 0, 0, 0),
        ([Look(0, 10, 0), Look(60, 0, 10)], -10, 10, 0),
        ([Look(0, 10, 5), Look(30, 10, 20)], 0, 30, 30),
        ([Look(0, 10, 5), Look(30, 25, 20)], 30, 30, 60),
        ([Look(0, 100, 0), Look(60, 0, 0)], -100, 0, 0),  # thrown away
        ([Look(0, 10, None), Look(60, 30, None)], 20, None, None),
        ([Look(0, 10, 500), Look(10, 10, 0), Look(40, 10, 10)], 0, 20, 20),  # counted anew
        ([Look(0, 10, None), Look(10, 10, 0), Look(40, 10, 10)], 0, 20, 20),  # the first worker that tells
        ([Look(0, 0, 0), Look(300, 50, 50)], 10, 10, 20),  # looked at every five minutes
    ],
)
def test_what_has_come_is_what_has_ended_and_what_there_is_more(
    looks: list[Look], growth: float | None, completions: float | None, arrived: float | None
) -> None:
    found = flow(followed(*looks))
    assert found == Flow(growth, completions)
    assert arrivals(found.growth, found.completions) == arrived


def test_a_rate_is_of_the_last_minute() -> None:
    looks = [Look(second, 5, 0 if second < 100 else 2 * (second - 100)) for second in range(200)]
    kept = followed(*looks)
    assert kept[-1].at - kept[0].at == WINDOW
    assert flow(kept).completions == pytest.approx(120)


@given(st.lists(st.tuples(st.floats(0.001, 100), st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=300))
def test_few_looks_are_kept_and_no_job_is_counted_twice(steps: list[tuple[float, int, int]]) -> None:
    kept: tuple[Look, ...] = ()
    at, held, ended = 0.0, 0, 0
    for seconds, come, done in steps:
        at += seconds
        ended += min(done, held + come)
        held = max(0, held + come - done)
        kept = follow(kept, Look(at, held, ended))
    assert len(kept) <= WINDOW / 0.5 * 2 + 2
    found = flow(kept)
    if found.growth is not None and found.completions is not None:
        minutes = (kept[-1].at - kept[0].at) / 60
        assert found.completions * minutes == pytest.approx(kept[-1].ended - (kept[0].ended or 0))  # type: ignore[operator]  # the last look has counted
        assert (arrivals(found.growth, found.completions) or 0) * minutes <= sum(come for _, come, _ in steps) + 1e-6


@pytest.mark.parametrize(
    ("waiting", "completions", "seconds"),
    [(0, None, 0), (0, 10, 0), (10, 60, 10), (10, 0, None), (10, None, None), (None, 60, None)],
)
def test_the_time_to_clear_is_known_where_something_is_being_done(
    waiting: int | None, completions: float | None, seconds: float | None
) -> None:
    assert time_to_clear(waiting, completions) == seconds
