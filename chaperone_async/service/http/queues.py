"""How full the queues are: all of them for people, and one number of a pool for scalers."""

from typing import Annotated

from aiohttp import web
from msgspec import Meta, Struct

from chaperone_async.core.backlog import Backlog
from chaperone_async.errors import ConflictError, QueueUnavailable
from chaperone_async.service import queue_wire as wire
from chaperone_async.service.http.answers import FACE, MOST, find_pool, json_response
from chaperone_async.service.http.inputs import read_query
from chaperone_async.service.http.route import Route
from chaperone_async.supervision.supervisor import PoolView


class QueuesQuery(Struct, frozen=True):
    limit: Annotated[int, Meta(ge=1, le=MOST, description="at most so many queues")] = 1000


async def list_queues(request: web.Request) -> web.Response:
    face, limit = request.app[FACE], read_query(request, QueuesQuery).limit
    return json_response({"queues": face.views.queues(face.supervisor.snapshot())[:limit]})


async def show_scale_value(request: web.Request) -> web.Response:
    """As KEDA's metrics-api scaler wants it: 200 with a number, or nothing that could be taken for one. Jobs in work
    count: a scaler that forgets them ends who does them."""
    face, view = request.app[FACE], find_pool(request)
    backlog = _known(view)
    answer: wire.ScaleValueDocument = {"value": (backlog.ready or 0) + face.views.in_work(view)}
    return json_response(answer)


def _known(view: PoolView) -> Backlog:
    """Raises ConflictError where nobody tells, and QueueUnavailable where it is not known now."""
    cannot = f"cannot tell the backlog of pool {view.pool.name!r}"
    if "backlog" not in view.can:
        raise ConflictError(f"{cannot}: nobody knows it; give the pool a backlog.source, or a backend that can")
    if view.demand.backlog.ready is None:
        raise QueueUnavailable(f"{cannot}: {view.demand.problem or 'it is not known yet'}")
    return view.demand.backlog


ROUTES = (
    Route(
        method="GET", path="/api/v1/queues", handler=list_queues, access="read",
        summary="How full the queues are, and how fast they fill and empty", query=QueuesQuery,
        answers={200: wire.QueuesDocument},
    ),
    Route(
        method="GET", path="/api/v1/scale/{pool}/backlog", handler=show_scale_value, access="read",
        summary="Jobs of a pool that wait or are in work, for KEDA's metrics-api scaler",
        answers={200: wire.ScaleValueDocument}, problems=(409, 503),
    ),
)  # fmt: skip
