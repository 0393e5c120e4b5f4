"""What was asked for, and what has become of it."""

from typing import Annotated

from aiohttp import web
from msgspec import Meta, Struct

from chaperone_async.service import wire
from chaperone_async.service.http.answers import FACE, MOST, json_response
from chaperone_async.service.http.inputs import read_query
from chaperone_async.service.http.outcome import OPERATIONS, WaitQuery, answer_operation
from chaperone_async.service.http.route import Route
from chaperone_async.service.record_views import view_operations


class OperationsQuery(Struct, frozen=True):
    limit: Annotated[int, Meta(ge=1, le=MOST, description="at most so many operations")] = 100


async def list_operations(request: web.Request) -> web.Response:
    face, limit = request.app[FACE], read_query(request, OperationsQuery).limit
    return json_response(view_operations(face.control.operations.latest()[:limit], face.views.time))


async def show_operation(request: web.Request) -> web.Response:
    wait = read_query(request, WaitQuery).wait
    operation = request.app[FACE].control.operations.get(request.match_info["id"])
    return await answer_operation(request, operation, wait)


ROUTES = (
    Route(
        method="GET", path=OPERATIONS, handler=list_operations, access="read",
        summary="What was asked for, the newest first", query=OperationsQuery, answers={200: wire.OperationsDocument},
    ),
    Route(
        method="GET", path=f"{OPERATIONS}/{{id}}", handler=show_operation, access="read",
        summary="What has become of one operation", query=WaitQuery,
        answers={200: wire.OperationDocument, 202: wire.OperationDocument},
    ),
)  # fmt: skip
