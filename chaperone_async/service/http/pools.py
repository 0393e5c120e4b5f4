"""Pools with their workers."""

from aiohttp import web
from anyio import current_time

from chaperone_async.service.http.answers import FACE, count_in_query, find_pool, json_response


async def list_pools(request: web.Request) -> web.Response:
    face = request.app[FACE]
    snapshot = face.supervisor.snapshot()
    shown = snapshot.pools[: count_in_query(request, "limit")]
    return json_response({"pools": [face.views.pool(view, snapshot.at) for view in shown]})


async def show_pool(request: web.Request) -> web.Response:
    face = request.app[FACE]
    return json_response(face.views.pool(find_pool(request), current_time()))


def routes() -> list[web.RouteDef]:
    return [web.get("/api/v1/pools", list_pools), web.get("/api/v1/pools/{pool}", show_pool)]
