"""What a request has set in motion, as an answer: what has come of it by now, and where to ask for the rest."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any

from aiohttp import web
from anyio import current_time
from msgspec import Meta, Struct

from chaperone_async.service.http.answers import FACE, json_response
from chaperone_async.service.operations import Operation
from chaperone_async.service.record_views import view_operation

OPERATIONS = "/api/v1/operations"
LONGEST_WAIT = 3600
LOOK = 15.0
"""Seconds between looks whether who waits is still there."""
_NOTHING: Mapping[str, Any] = MappingProxyType({})

Wait = Annotated[
    float,
    Meta(
        ge=0, le=LONGEST_WAIT,
        description="seconds to wait for its end: 200 with what came of it, done or failed; 202 when it still goes on",
    ),
]  # fmt: skip


class WaitQuery(Struct, frozen=True):
    wait: Wait = 0


async def answer_operation(
    request: web.Request, operation: Operation, wait: float, also: Mapping[str, Any] = _NOTHING
) -> web.Response:
    """200 when it has ended within `wait` seconds, else 202. One that failed is a truthful 200: its `state` says so,
    and nothing was wrong with the request. `also`: more members of the document."""
    face = request.app[FACE]
    deadline = current_time() + wait
    while operation.ended_at is None and current_time() < deadline and request.transport is not None:
        operation = await face.control.operations.wait(operation.id, min(LOOK, deadline - current_time()))
    document = {**view_operation(operation, face.views.time), **also}
    answer = json_response(document, 202 if operation.ended_at is None else 200)
    answer.headers["Location"] = f"{OPERATIONS}/{operation.id}"
    return answer
