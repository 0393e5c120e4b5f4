"""Workers that get nowhere: what tells it, and how many are recycled."""

import pytest

from chaperone_async.core.stall import Progress, StallState, watch

STALL = 60.0


def begun() -> StallState:
    state, many = watch(STALL, StallState(), Progress(at=0, ready=10, running=0, moved=5))
    assert many == 0
    return state


def look(state: StallState, at: float, ready: int | None = 10) -> tuple[StallState, int]:
    return watch(STALL, state, Progress(at=at, ready=ready, running=0, moved=5))


def test_one_is_recycled_and_then_twice_as_many_each_time() -> None:
    state, told = begun(), []
    for at in range(1, 301):
        state, many = look(state, float(at))
        if many:
            told.append((at, many))
    assert told == [(60, 1), (120, 1), (180, 2), (240, 4), (300, 8)]


@pytest.mark.parametrize(
    "progress",
    [
        Progress(at=59, ready=9, running=0, moved=5),
        Progress(at=59, ready=10, running=1, moved=5),
        Progress(at=59, ready=10, running=0, moved=6),
        Progress(at=59, ready=0, running=0, moved=5),
        Progress(at=59, ready=10, running=0, moved=5, beat_at=58),
    ],
)
def test_any_sign_of_work_begins_the_time_anew(progress: Progress) -> None:
    state, _ = watch(STALL, begun(), progress)
    for at in (60.0, 100.0, 118.0):
        state, many = watch(STALL, state, Progress(at=at, ready=progress.ready, running=0, moved=progress.moved))
        assert many == 0


def test_an_unknown_backlog_proves_nothing() -> None:
    state = begun()
    for at in range(1, 500):
        state, many = look(state, float(at), ready=None)
        assert many == 0
    _, many = look(state, 500.0)
    assert many == 1


def test_a_heartbeat_that_is_old_is_none() -> None:
    _, many = watch(STALL, begun(), Progress(at=61, ready=10, running=0, moved=5, beat_at=0.5))
    assert many == 1
