"""Start, stop, restart, pause, resume, signal, drain and scale: a pool, all pools, or one worker.

A handler waits until the request has been dealt with, which takes no time; what follows from it is an operation.
"""

from typing import Annotated, get_args

from aiohttp import web
from msgspec import Meta, Struct

from chaperone_async.service import wire
from chaperone_async.service.control import ALL, MOST_WORKERS, PLAIN, Action, How
from chaperone_async.service.http.answers import FACE
from chaperone_async.service.http.auth import caller
from chaperone_async.service.http.inputs import read_body, read_query
from chaperone_async.service.http.outcome import WaitQuery, answer_operation
from chaperone_async.service.http.problems import Refused
from chaperone_async.service.http.route import Handler, Route
from chaperone_async.system.config.units import PositiveDuration
from chaperone_async.system.config.words import SignalName

LONGEST_PAUSE = 366 * 86_400.0
_SHOWN = 50


class RestartQuery(WaitQuery, frozen=True):
    now: Annotated[
        bool, Meta(description="stop the workers at once; else each goes only when its replacement is ready")
    ] = False


class PauseQuery(WaitQuery, frozen=True, rename={"seconds": "for"}):
    seconds: Annotated[
        str | None,
        Meta(description="the pause ends by itself after so long: seconds, or a duration such as 10m, up to 366d"),
    ] = None


class SignalBody(Struct, frozen=True):
    signal: Annotated[str, Meta(description="SIGKILL kills the whole session", extra_json_schema=SignalName.schema())]


class ScaleBody(Struct, frozen=True):
    workers: (
        Annotated[int, Meta(ge=0, le=MOST_WORKERS, description="so many")]
        | Annotated[str, Meta(pattern="^[+-][0-9]{1,6}$", description="so many more, or fewer: +1, -1")]
    )


_QUERIES: dict[Action, type[WaitQuery]] = {"restart": RestartQuery, "pause": PauseQuery}


def _acting(action: Action) -> Handler:
    """With the id of a worker in the path, on that worker."""

    async def act(request: web.Request) -> web.Response:
        query = read_query(request, _QUERIES.get(action, WaitQuery))
        pool, worker = request.match_info["pool"], request.match_info.get("id")
        operation = await request.app[FACE].control.act(action, pool, caller(request), worker, _how(query))
        return await answer_operation(request, operation, query.wait)

    return act


def _how(query: WaitQuery) -> How:
    match query:
        case RestartQuery(now=now):
            return How(now=now)
        case PauseQuery(seconds=str(text)):
            return How(seconds=_duration(text))
    return PLAIN


def _duration(text: str) -> float:
    try:
        seconds = float(PositiveDuration.parse(text))
    except ValueError as error:
        raise Refused(400, f"cannot use for={text[:_SHOWN]!r}: it {error}") from error
    if seconds > LONGEST_PAUSE:
        raise Refused(400, f"cannot use for={text[:_SHOWN]!r}: it is too long; write at most 366d, or leave it out")
    return seconds


async def send_signal(request: web.Request) -> web.Response:
    wait, body = read_query(request, WaitQuery).wait, await read_body(request, SignalBody)
    try:
        signal = SignalName.parse(body.signal)
    except ValueError as error:
        raise Refused(422, f"cannot use signal: {body.signal[:_SHOWN]!r} {error}") from error
    pool, worker = request.match_info["pool"], request.match_info.get("id")
    operation = await request.app[FACE].control.signal(pool, str(signal), caller(request), worker)
    return await answer_operation(request, operation, wait)


async def scale(request: web.Request) -> web.Response:
    wait, workers = read_query(request, WaitQuery).wait, (await read_body(request, ScaleBody)).workers
    relative = isinstance(workers, str)
    control, pool = request.app[FACE].control, request.match_info["pool"]
    operation = await control.scale(pool, int(workers), caller(request), relative=relative)
    return await answer_operation(request, operation, wait)


async def drain(request: web.Request) -> web.Response:
    wait, path = read_query(request, WaitQuery).wait, request.match_info
    operation = await request.app[FACE].control.drain(path.get("pool", ALL), caller(request), path.get("id"))
    return await answer_operation(request, operation, wait)


POOL = "/api/v1/pools/{pool}"
WORKER = f"{POOL}/workers/{{id}}"
_OUTCOME = {200: wire.OperationDocument, 202: wire.OperationDocument}
_DOES: dict[Action, str] = {
    "start": "Start what is stopped or has given up, and end pauses",
    "stop": "Stop gracefully, until somebody starts it again",
    "restart": "Replace each worker by a new one",
    "pause": "Let no work be done until somebody resumes it",
    "resume": "End a pause; what is stopped stays stopped",
}


def _action_routes(action: Action) -> tuple[Route, Route]:
    handler, query, does = _acting(action), _QUERIES.get(action, WaitQuery), _DOES[action]
    return (
        Route(
            method="POST", path=f"{POOL}/{action}", handler=handler, access="change",
            summary=f"{does}: a pool, or all", query=query, answers=_OUTCOME, problems=(409,),
        ),
        Route(
            method="POST", path=f"{WORKER}/{action}", handler=handler, access="change",
            summary=f"{does}: one worker", query=query, answers=_OUTCOME, problems=(409,),
        ),
    )  # fmt: skip


ROUTES = (
    *(route for action in get_args(Action) for route in _action_routes(action)),
    Route(
        method="POST", path=f"{POOL}/signal", handler=send_signal, access="change",
        summary="Send a signal to the workers of a pool, or of all", query=WaitQuery, body=SignalBody,
        answers=_OUTCOME, problems=(409,),
    ),
    Route(
        method="POST", path=f"{WORKER}/signal", handler=send_signal, access="change",
        summary="Send a signal to one worker", query=WaitQuery, body=SignalBody, answers=_OUTCOME, problems=(409,),
    ),
    Route(
        method="PATCH", path=POOL, handler=scale, access="change",
        summary="Have so many workers, or so many more or fewer", query=WaitQuery, body=ScaleBody,
        answers=_OUTCOME, problems=(409,),
    ),
    Route(
        method="POST", path=f"{POOL}/drain", handler=drain, access="change",
        summary="Stop, and fail where a worker had to be killed: a pool, or all", query=WaitQuery,
        answers=_OUTCOME, problems=(409,),
    ),
    Route(
        method="POST", path=f"{WORKER}/drain", handler=drain, access="change",
        summary="Stop, and fail where it had to be killed: one worker", query=WaitQuery,
        answers=_OUTCOME, problems=(409,),
    ),
    Route(
        method="POST", path="/api/v1/drain", handler=drain, access="change",
        summary="Stop all pools, and fail where a worker had to be killed", query=WaitQuery,
        answers=_OUTCOME, problems=(409,),
    ),
)  # fmt: skip
