"""Single workers."""

from typing import Annotated

from aiohttp import web
from anyio import current_time
from msgspec import Meta, Struct

from chaperone_async.core.states import Slot
from chaperone_async.service import wire
from chaperone_async.service.http.answers import FACE, MOST, find_pool, json_response
from chaperone_async.service.http.inputs import read_query
from chaperone_async.service.http.problems import Refused
from chaperone_async.service.http.route import Route
from chaperone_async.supervision.supervisor import PoolView


class WorkersQuery(Struct, frozen=True):
    limit: Annotated[int, Meta(ge=1, le=MOST, description="at most so many workers")] = MOST


async def list_workers(request: web.Request) -> web.Response:
    face, limit = request.app[FACE], read_query(request, WorkersQuery).limit
    rows = face.views.workers(find_pool(request), current_time())
    return json_response({"workers": rows[:limit]})


async def show_worker(request: web.Request) -> web.Response:
    face = request.app[FACE]
    view = find_pool(request)
    slot = find_slot(view, request.match_info["id"])
    if slot is None:
        raise unknown_worker(request)
    return json_response(face.views.worker(view, slot, current_time()))


def find_slot(view: PoolView, worker_id: str) -> Slot | None:
    """By the id of the worker that is, or was last, in the slot; or by the slot's number."""
    by_slot = int(worker_id) if worker_id.isascii() and worker_id.isdigit() and len(worker_id) < 7 else None
    return next((slot for slot in view.pool.slots if slot.last_id == worker_id or slot.index == by_slot), None)


def unknown_worker(request: web.Request) -> Refused:
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
)  # fmt: skip
