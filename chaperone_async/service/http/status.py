"""The supervisor as a whole."""

from aiohttp import web

from chaperone_async.service import wire
from chaperone_async.service.http.answers import FACE, json_response
from chaperone_async.service.http.route import Route


async def show_status(request: web.Request) -> web.Response:
    face = request.app[FACE]
    return json_response(face.views.status(face.supervisor.snapshot()))


async def show_stats(request: web.Request) -> web.Response:
    face = request.app[FACE]
    supervisor = face.supervisor
    return json_response(face.views.stats(supervisor.snapshot(), supervisor.p95_job_time()))


ROUTES = (
    Route(
        method="GET", path="/api/v1/status", handler=show_status, access="read",
        summary="The supervisor, and its pools in short", answers={200: wire.StatusDocument},
    ),
    Route(
        method="GET", path="/api/v1/stats", handler=show_stats, access="read",
        summary="Sums over all pools", answers={200: wire.StatsDocument},
    ),
)  # fmt: skip
