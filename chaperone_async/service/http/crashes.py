"""Every death that is remembered, newest first."""

from typing import Annotated

from aiohttp import web
from msgspec import Meta, Struct

from chaperone_async.service import wire
from chaperone_async.service.http.answers import FACE, MOST, json_response
from chaperone_async.service.http.inputs import read_query
from chaperone_async.service.http.route import Route
from chaperone_async.service.record_views import view_crashes


class CrashesQuery(Struct, frozen=True):
    limit: Annotated[int, Meta(ge=1, le=MOST, description="at most so many, the newest")] = 100


async def list_all(request: web.Request) -> web.Response:
    face, limit = request.app[FACE], read_query(request, CrashesQuery).limit
    journal = face.supervisor.journal
    records = [record for name in face.supervisor.names for record in journal.crashes(name)]
    records.sort(key=lambda record: record.id, reverse=True)
    return json_response(view_crashes(records[:limit], face.views.time))


async def list_of_pool(request: web.Request) -> web.Response:
    face, limit = request.app[FACE], read_query(request, CrashesQuery).limit
    name = face.supervisor.runner(request.match_info["pool"]).pool.name
    records = face.supervisor.journal.crashes(name)
    return json_response(view_crashes(records[:limit], face.views.time))


ROUTES = (
    Route(
        method="GET", path="/api/v1/crashes", handler=list_all, access="read",
        summary="How workers of all pools ended", query=CrashesQuery, answers={200: wire.CrashesDocument},
    ),
    Route(
        method="GET", path="/api/v1/pools/{pool}/crashes", handler=list_of_pool, access="read",
        summary="How workers of one pool ended", query=CrashesQuery, answers={200: wire.CrashesDocument},
    ),
)  # fmt: skip
