"""Single workers, and what they wrote."""

from collections.abc import Sequence
from typing import Annotated

from aiohttp import web
from anyio import current_time
from msgspec import Meta, Struct

from chaperone_async.core.states import Slot
from chaperone_async.service import wire
from chaperone_async.service.http.answers import FACE, MOST, find_pool, json_response, wants_json
from chaperone_async.service.http.inputs import read_query
from chaperone_async.service.http.problems import Refused
from chaperone_async.service.http.route import Route
from chaperone_async.supervision.supervisor import PoolView, Supervisor


class WorkersQuery(Struct, frozen=True):
    limit: Annotated[int, Meta(ge=1, le=MOST, description="at most so many workers")] = MOST


class LogsQuery(Struct, frozen=True):
    lines: Annotated[int, Meta(ge=1, le=MOST, description="at most so many, the last")] = 100


async def list_workers(request: web.Request) -> web.Response:
    face, limit = request.app[FACE], read_query(request, WorkersQuery).limit
    rows = face.views.workers(find_pool(request), current_time())
    return json_response({"workers": rows[:limit]})


async def show_worker(request: web.Request) -> web.Response:
    face = request.app[FACE]
    view = find_pool(request)
    slot = _find(view, request.match_info["id"])
    if slot is None:
        raise _unknown(request)
    return json_response(face.views.worker(view, slot, current_time()))


async def show_logs(request: web.Request) -> web.Response:
    """The last lines, oldest first; of a dead worker too, as long as its death is remembered."""
    lines = _written(request, read_query(request, LogsQuery).lines)
    if wants_json(request):
        return json_response({"lines": list(lines)})
    return web.Response(text="".join(f"{line}\n" for line in lines))


def _written(request: web.Request, lines: int) -> Sequence[str]:
    supervisor, pool, worker_id = request.app[FACE].supervisor, request.match_info["pool"], request.match_info["id"]
    slot = _find(find_pool(request), worker_id)
    if slot is not None and slot.life is not None:
        return supervisor.runner(pool).processes.output(slot.life.ref, lines)
    last_words = _last_words(supervisor, pool, worker_id if slot is None else slot.last_id, lines)
    if last_words is None:
        raise _unknown(request)
    return last_words


def _last_words(supervisor: Supervisor, pool: str, worker_id: str | None, lines: int) -> Sequence[str] | None:
    for record in supervisor.journal.crashes(pool):
        if record.death.worker_id == worker_id:
            return supervisor.runner(pool).processes.output(record.death.ref, lines) or record.output[-lines:]
    return None


def _find(view: PoolView, worker_id: str) -> Slot | None:
    """By the id of the worker that is, or was last, in the slot; or by the slot's number."""
    by_slot = int(worker_id) if worker_id.isascii() and worker_id.isdigit() and len(worker_id) < 7 else None
    return next((slot for slot in view.pool.slots if slot.last_id == worker_id or slot.index == by_slot), None)


def _unknown(request: web.Request) -> Refused:
    pool, worker_id = request.match_info["pool"], request.match_info["id"]
    return Refused(404, f"there is no worker {worker_id!r} in pool {pool!r}; see /api/v1/pools/{pool}/workers")


HERE = "/api/v1/pools/{pool}/workers"
ROUTES = (
    Route(
        method="GET", path=HERE, handler=list_workers, access="read",
        summary="The workers of one pool, the lowest slot first", query=WorkersQuery,
        answers={200: wire.WorkersDocument},
    ),
    Route(
        method="GET", path=f"{HERE}/{{id}}", handler=show_worker, access="read",
        summary="One worker", answers={200: wire.WorkerDocument},
    ),
    Route(
        method="GET", path=f"{HERE}/{{id}}/logs", handler=show_logs, access="read",
        summary="The last lines that a worker wrote, oldest first", query=LogsQuery,
        answers={200: ("text/plain", wire.LinesDocument)},
    ),
)  # fmt: skip
