"""Pools with their workers."""

from typing import Annotated

from aiohttp import web
from anyio import current_time
from msgspec import Meta, Struct

from chaperone_async.service import wire
from chaperone_async.service.http.answers import FACE, MOST, find_pool, json_response
from chaperone_async.service.http.inputs import read_query
from chaperone_async.service.http.route import Route


class PoolsQuery(Struct, frozen=True):
    limit: Annotated[int, Meta(ge=1, le=MOST, description="at most so many pools")] = 1000


async def list_pools(request: web.Request) -> web.Response:
    face = request.app[FACE]
    shown = read_query(request, PoolsQuery).limit
    snapshot = face.supervisor.snapshot()
    return json_response({"pools": [face.views.pool(view, snapshot.at) for view in snapshot.pools[:shown]]})


async def show_pool(request: web.Request) -> web.Response:
    face = request.app[FACE]
    return json_response(face.views.pool(find_pool(request), current_time()))


ROUTES = (
    Route(
        method="GET", path="/api/v1/pools", handler=list_pools, access="read",
        summary="All pools with their workers", query=PoolsQuery, answers={200: wire.PoolsDocument},
    ),
    Route(
        method="GET", path="/api/v1/pools/{pool}", handler=show_pool, access="read",
        summary="One pool with its workers", answers={200: wire.PoolDocument},
    ),
)  # fmt: skip
