"""Progress while stopping: who is waited for, and for how long still."""

from chaperone_async.core.states import Killing, Stopping
from chaperone_async.supervision.supervisor import Snapshot

NAMED = 5
"""Workers mentioned by name in one line."""


def waiting_for(snapshot: Snapshot) -> str | None:
    """None when nobody is waited for."""
    waits: list[tuple[float, str]] = []
    for view in snapshot.pools:
        for slot in view.pool.slots:
            state = slot.state
            if isinstance(state, Stopping):
                left = max(0.0, state.kill_at - snapshot.at)
                waits.append((left, f"{state.life.worker_id} (pid {state.life.pid}, killed in {left:.0f} s)"))
            elif isinstance(state, Killing):
                waits.append((0.0, f"{state.life.worker_id} (pid {state.life.pid}, SIGKILL sent)"))
            elif slot.live and slot.life is not None:
                waits.append((0.0, f"{slot.life.worker_id} (pid {slot.life.pid or 'none yet'})"))
    if not waits:
        return None
    waits.sort(key=lambda wait: -wait[0])
    names = ", ".join(name for _, name in waits[:NAMED])
    more = f" and {len(waits) - NAMED} more" if len(waits) > NAMED else ""
    return f"waiting for {len(waits)} worker{'s' if len(waits) > 1 else ''}: {names}{more}"
