"""The supervisor as a whole."""

from aiohttp import web

from chaperone_async.service.http.answers import FACE, json_response


async def show_status(request: web.Request) -> web.Response:
    face = request.app[FACE]
    return json_response(face.views.status(face.supervisor.snapshot()))


async def show_stats(request: web.Request) -> web.Response:
    face = request.app[FACE]
    return json_response(face.views.stats(face.supervisor.snapshot()))


def routes() -> list[web.RouteDef]:
    return [web.get("/api/v1/status", show_status), web.get("/api/v1/stats", show_stats)]
