"""Single workers, and what they wrote."""

from collections.abc import Sequence

from aiohttp import web
from anyio import current_time

from chaperone_async.core.states import Slot
from chaperone_async.service.http.answers import FACE, count_in_query, find_pool, json_response, wants_json
from chaperone_async.service.http.problems import Refused
from chaperone_async.supervision.supervisor import PoolView, Supervisor

LOG_LINES = 100


async def list_workers(request: web.Request) -> web.Response:
    face = request.app[FACE]
    rows = face.views.workers(find_pool(request), current_time())
    return json_response({"workers": rows[: count_in_query(request, "limit")]})


async def show_worker(request: web.Request) -> web.Response:
    face = request.app[FACE]
    view = find_pool(request)
    slot = _find(view, request.match_info["id"])
    if slot is None:
        raise _unknown(request)
    return json_response(face.views.worker(view, slot, current_time()))


async def show_logs(request: web.Request) -> web.Response:
    """The last lines, oldest first; of a dead worker too, as long as its death is remembered."""
    lines = _written(request, count_in_query(request, "lines") or LOG_LINES)
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


def routes() -> list[web.RouteDef]:
    here = "/api/v1/pools/{pool}/workers"
    return [
        web.get(here, list_workers),
        web.get(f"{here}/{{id}}", show_worker),
        web.get(f"{here}/{{id}}/logs", show_logs),
    ]
