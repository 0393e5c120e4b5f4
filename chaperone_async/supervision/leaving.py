"""Who goes when a pool becomes smaller, by what its workers have told."""

from collections.abc import Iterator

from chaperone_async.core.pool import Pool
from chaperone_async.core.scaling import Candidate, Leaver, leavers
from chaperone_async.core.states import Held
from chaperone_async.system.ports import TelemetrySource


def candidates(pool: Pool, telemetry: TelemetrySource) -> Iterator[Candidate]:
    """Those who are to stay so far. A slot that its crashes keep empty goes first; one that is kept empty by hand is as
    good as another."""
    tells = reports(pool, telemetry)
    for index in range(min(pool.width, len(pool.slots))):
        slot = pool.slots[index]
        if slot.surplus:
            continue
        if not slot.live or slot.life is None:
            yield Candidate(index, None if isinstance(slot.state, Held) else False, 0.0)
            continue
        said = telemetry.telemetry(slot.life.ref)
        idle_since = slot.life.spawned_at if said.last_job_ended_at is None else said.last_job_ended_at
        yield Candidate(index, bool(said.running) if tells else None, idle_since)


def reports(pool: Pool, telemetry: TelemetrySource) -> bool:
    """Whether this pool's workers tell of their jobs: where one has, another has only had none yet."""
    if pool.spec.backend is not None and pool.spec.backend.reports:
        return True
    return any(slot.life is not None and telemetry.telemetry(slot.life.ref).spoke for slot in pool.slots if slot.live)


def in_order(pool: Pool, telemetry: TelemetrySource, *, patient: bool) -> tuple[Leaver, ...]:
    """`patient`: those that are busy get the time that their jobs may take."""
    found = list(candidates(pool, telemetry))
    busy = {candidate.slot for candidate in found if candidate.busy and pool.slots[candidate.slot].live}
    return tuple(Leaver(slot, patient and slot in busy) for slot in leavers(found))
