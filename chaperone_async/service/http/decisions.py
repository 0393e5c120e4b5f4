"""Why a pool has as many workers as it has: what its scaler has decided, newest first."""

from typing import Annotated

from aiohttp import web
from msgspec import Meta, Struct

from chaperone_async.service import queue_wire as wire
from chaperone_async.service.http.answers import FACE, MOST, find_pool, json_response
from chaperone_async.service.http.inputs import read_query
from chaperone_async.service.http.route import Route


class DecisionsQuery(Struct, frozen=True):
    limit: Annotated[int, Meta(ge=1, le=MOST, description="at most so many, the newest")] = 100


async def list_decisions(request: web.Request) -> web.Response:
    """Of a pool that does not scale itself there are none."""
    limit = read_query(request, DecisionsQuery).limit
    return json_response(request.app[FACE].views.decisions(find_pool(request), limit))


ROUTES = (
    Route(
        method="GET", path="/api/v1/pools/{pool}/decisions", handler=list_decisions, access="read",
        summary="What the scaler of a pool has decided, and why", query=DecisionsQuery,
        answers={200: wire.DecisionsDocument},
    ),
)  # fmt: skip
