"""One slot: the whole transition table, every state by every event, every cell written out. `_` changes nothing: the
event cannot happen in that state, or means nothing there. The states are drawn in states.py.

A cell is a function (rules, slot, state, event) -> (slot', actions). Facts reach a cell only if they name the slot's
present generation, so a cell never sees a dead worker's news.
"""

from collections.abc import Mapping

from chaperone_async.core.commands import (
    Adopt,
    Begin,
    Cell,
    Checked,
    Freeze,
    Halt,
    KillNow,
    Move,
    Pardon,
    Park,
    Release,
    Retire,
    Rules,
    Try,
    ignore,
)
from chaperone_async.core.ending import (
    be_canary,
    consulted,
    exited,
    free,
    free_in_time,
    halt,
    halt_empty,
    halt_killing,
    halt_stopping,
    halt_unborn,
    hold_empty,
    hold_later,
    kill_again,
    kill_now,
    kill_unborn,
    overdue_stopping,
    park,
    release_consulting,
    stop_extended,
    time_while_stopping,
    unhold,
    vacate,
)
from chaperone_async.core.events import (
    CallbackReturned,
    Exited,
    JobOverdue,
    LimitReached,
    ReadyTold,
    Spawned,
    SpawnFailed,
    StoppingTold,
    TimeExtended,
    TimePassed,
)
from chaperone_async.core.living import (
    adopt,
    adopt_starting,
    check_running,
    check_starting,
    check_stopping,
    freeze,
    limit_reached,
    overdue,
    pardon,
    retire,
    spawn,
    spawn_failed,
    spawned,
    start_extended,
    stopping_told,
    thaw,
    thaw_in_time,
    time_while_running,
    time_while_starting,
    told_ready,
    told_ready_early,
)
from chaperone_async.core.states import (
    Backoff,
    Consulting,
    Fatal,
    Finished,
    Frozen,
    Held,
    Killing,
    Running,
    Slot,
    Spawning,
    Starting,
    Stopping,
    Vacant,
    Waiting,
)

COLUMNS = (
    Begin, Spawned, SpawnFailed, Exited, Checked, ReadyTold, StoppingTold, TimeExtended, LimitReached,
    JobOverdue, CallbackReturned, TimePassed, Halt, KillNow, Freeze, Release, Retire, Pardon, Adopt, Park, Try,
)  # fmt: skip
_ = ignore

# fmt: off
_ROWS: dict[type, tuple[Cell, ...]] = {
    #            Begin  Spawned  SpawnFailed   Exited  Checked         ReadyTold         StoppingTold   TimeExtended    LimitReached   JobOverdue        CallbackReturned TimePassed           Halt           KillNow       Freeze      Release             Retire  Pardon  Adopt           Park  Try
    Vacant:     (spawn, _,       _,            _,      _,              _,                _,             _,              _,             _,                _,               _,                   halt_empty,    halt_empty,   hold_empty, unhold,             _,      _,      _,              park, be_canary),
    Held:       (_,     _,       _,            _,      _,              _,                _,             _,              _,             _,                _,               free_in_time,        halt_empty,    halt_empty,   hold_empty, free,               _,      _,      _,              _,    _),
    Spawning:   (_,     spawned, spawn_failed, _,      _,              told_ready_early, _,             _,              _,             _,                _,               _,                   halt_unborn,   kill_unborn,  hold_later, unhold,             retire, pardon, _,              _,    _),
    Starting:   (_,     _,       _,            exited, check_starting, told_ready,       stopping_told, start_extended, _,             overdue,          _,               time_while_starting, halt,          kill_now,     freeze,     unhold,             retire, pardon, adopt_starting, _,    _),
    Running:    (_,     _,       _,            exited, check_running,  _,                stopping_told, _,              limit_reached, overdue,          _,               time_while_running,  halt,          kill_now,     freeze,     unhold,             retire, pardon, adopt,          _,    _),
    Frozen:     (_,     _,       _,            exited, _,              told_ready_early, stopping_told, _,              limit_reached, _,                _,               thaw_in_time,        halt,          kill_now,     hold_later, thaw,               retire, pardon, adopt,          _,    _),
    Stopping:   (_,     _,       _,            exited, check_stopping, _,                _,             stop_extended,  _,             overdue_stopping, _,               time_while_stopping, halt_stopping, kill_now,     hold_later, unhold,             _,      _,      _,              _,    _),
    Killing:    (_,     _,       _,            exited, _,              _,                _,             _,              _,             _,                _,               kill_again,          halt_killing,  halt_killing, hold_later, unhold,             _,      _,      _,              _,    _),
    Consulting: (_,     _,       _,            _,      _,              _,                _,             _,              _,             _,                consulted,       consulted,           halt_empty,    halt_empty,   hold_empty, release_consulting, _,      _,      _,              _,    _),
    Backoff:    (_,     _,       _,            _,      _,              _,                _,             _,              _,             _,                _,               vacate,              halt_empty,    halt_empty,   hold_empty, free,               _,      _,      _,              park, be_canary),
    Waiting:    (_,     _,       _,            _,      _,              _,                _,             _,              _,             _,                _,               _,                   halt_empty,    halt_empty,   hold_empty, free,               _,      _,      _,              _,    be_canary),
    Finished:   (_,     _,       _,            _,      _,              _,                _,             _,              _,             _,                _,               _,                   halt_empty,    halt_empty,   _,          free,               _,      _,      _,              _,    _),
    Fatal:      (_,     _,       _,            _,      _,              _,                _,             _,              _,             _,                _,               _,                   halt_empty,    halt_empty,   _,          free,               _,      _,      _,              _,    _),
}
# fmt: on
TABLE: Mapping[type, Mapping[type, Cell]] = {
    state: dict(zip(COLUMNS, cells, strict=True)) for state, cells in _ROWS.items()
}


def transition(rules: Rules, slot: Slot, event: object) -> Move:
    return TABLE[type(slot.state)][type(event)](rules, slot, slot.state, event)
