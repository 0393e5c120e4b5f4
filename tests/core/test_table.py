"""The transition table: every state by every event is there, and none of them raises whatever it is given."""

from collections.abc import Callable
from typing import Any, get_args

import pytest

from chaperone_async.core import events as ev
from chaperone_async.core.commands import Checked, Command, Rules
from chaperone_async.core.health import Failing
from chaperone_async.core.reasons import Reason
from chaperone_async.core.restart import FRESH, Again, Finish, GiveUp, History
from chaperone_async.core.spec import Callbacks, HealthPolicy, RecyclePolicy, RestartPolicy, StopPolicy
from chaperone_async.core.states import (
    LIVE,
    Backoff,
    Consulting,
    Doom,
    Due,
    Fatal,
    Finished,
    Frozen,
    Held,
    Hold,
    Killing,
    Life,
    Running,
    Slot,
    Spawning,
    Starting,
    State,
    Stopping,
    Vacant,
    Waiting,
)
from chaperone_async.core.worker import COLUMNS, TABLE, transition
from tests.core.world import plan

REF = ev.WorkerRef("p", 0, 1)
NEXT = ev.WorkerRef("p", 0, 2)
NOW = 100.0
HOLD = Hold("stop", "operator", NOW)
DOOM = Doom(Reason.STOP)

LIVES = [
    Life(REF, "p-000001", 1.0),
    Life(REF, "p-000001", 1.0, pid=7, spawned_at=2.0, ready_at=3.0, told_ready=True, probed=frozenset({"http"})),
    Life(REF, "p-000001", 1.0, pid=7, spawned_at=2.0, leaving=True, due=Due(Reason.RELOAD), recycle_at=50.0),
    Life(REF, "p-000001", 1.0, pid=7, spawned_at=2.0, failing=(Failing("process", 3, "T"),), unhealthy=True),
]
WITH_LIFE: list[Callable[[Life], State]] = [
    Spawning,
    lambda life: Spawning(life, DOOM),
    lambda life: Starting(life, 3.0, 60.0),
    lambda life: Starting(life, 200.0, 200.0),
    Running,
    lambda life: Running(life, 32.0),
    Frozen,
    lambda life: Stopping(life, DOOM, 200.0),
    lambda life: Stopping(life, Doom(Reason.UNHEALTHY, fault=True), 90.0),
    lambda life: Killing(life, DOOM, 90.0),
    lambda life: Consulting(life, Again(5), 90.0),
    lambda life: Consulting(life, Finish(), 90.0),
    lambda life: Consulting(life, GiveUp("no"), 90.0),
]
STATES: list[State] = [
    Vacant(), Held(), Backoff(90.0), Backoff(200.0), Waiting(), Finished(), Fatal("no"),
    *(make(life) for make in WITH_LIFE for life in LIVES),
]  # fmt: skip

EVENTS: dict[type, list[Any]] = {
    ev.Spawned: [ev.Spawned(REF, 9, NOW)],
    ev.SpawnFailed: [ev.SpawnFailed(REF, "cannot", NOW)],
    ev.Exited: [
        ev.Exited(REF, 0, None, False, NOW), ev.Exited(REF, 1, None, False, NOW), ev.Exited(REF, None, 9, True, NOW),
    ],
    Checked: [
        Checked(ev.CheckResult(REF, check, passed), NOW) for check in ("memory", "http") for passed in (True, False)
    ],
    ev.ReadyTold: [ev.ReadyTold(REF, NOW)],
    ev.StoppingTold: [ev.StoppingTold(REF, NOW)],
    ev.TimeExtended: [ev.TimeExtended(REF, 5.0, NOW)],
    ev.LimitReached: [ev.LimitReached(REF, Reason.MAX_JOBS, "", NOW)],
    ev.JobOverdue: [ev.JobOverdue(REF, "", NOW)],
    ev.CallbackReturned: [ev.CallbackReturned(REF, NOW)],
    ev.TimePassed: [ev.TimePassed(NOW)],
}  # fmt: skip
COMMANDS: dict[str, list[dict[str, Any]]] = {
    "Begin": [{"ref": NEXT, "worker_id": "p-000002"}],
    "Halt": [{"doom": DOOM, "hold": None}, {"doom": DOOM, "hold": HOLD}],
    "KillNow": [{"doom": DOOM, "hold": None}, {"doom": DOOM, "hold": HOLD}],
    "Freeze": [{"hold": Hold("pause", "operator", NOW)}],
    "Release": [{"fresh": False}, {"fresh": True}],
    "Retire": [{"due": Due(Reason.RELOAD)}],
    "Pardon": [{}],
    "Adopt": [{"before": plan()}, {"before": plan(health=HealthPolicy(start_timeout=1))}],
    "Park": [{}],
    "Try": [{"until": 130.0}],
}
for column in COLUMNS:
    if column.__name__ in COMMANDS:
        EVENTS[column] = [column(**fields, at=NOW) for fields in COMMANDS[column.__name__]]

SPECS = [
    plan(),
    plan(
        health=HealthPolicy(failure_threshold=1, ready="notify", start_timeout=0, callback=True),
        restart=RestartPolicy(mode="never"),
        stop=StopPolicy(timeout=0),
        callbacks=Callbacks(on_crash=True, on_unhealthy=True),
        recycle=RecyclePolicy(max_time=50),
    ),
]


def test_every_state_has_a_row_and_every_event_a_column() -> None:
    assert set(TABLE) == set(get_args(State))
    assert set(COLUMNS) == {*get_args(ev.Fact), *get_args(Command), ev.TimePassed}
    assert all(set(row) == set(COLUMNS) for row in TABLE.values())
    assert set(LIVE) < set(TABLE)


def test_every_kind_of_event_is_tried_here() -> None:
    assert set(EVENTS) == set(COLUMNS)
    assert {type(state) for state in STATES} == set(TABLE)


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: str(column.__name__))
def test_no_cell_raises_and_every_move_makes_sense(column: type) -> None:
    for state in STATES:
        for event in EVENTS[column]:
            for spec in SPECS:
                for history in (FRESH, History(9, 9, (1.0, 2.0), looping=True)):
                    for hold in (None, HOLD):
                        before = Slot(0, state, history, hold)
                        after, actions = transition(Rules(spec, 7), before, event)
                        assert isinstance(after, Slot)
                        assert isinstance(actions, tuple)
                        assert after.index == 0
                        if after is before:
                            assert not actions, "something is done, and the slot does not know"
                        if isinstance(after.state, LIVE) and not isinstance(state, LIVE):
                            assert column.__name__ == "Begin", "a life out of nothing"


def test_only_an_exit_or_a_failed_spawn_ends_a_life() -> None:
    for state in STATES:
        if not isinstance(state, LIVE):
            continue
        for column in COLUMNS:
            for event in EVENTS[column]:
                after, _ = transition(Rules(SPECS[0], 7), Slot(0, state), event)
                if not isinstance(after.state, LIVE):
                    assert column in {ev.Exited, ev.SpawnFailed}
