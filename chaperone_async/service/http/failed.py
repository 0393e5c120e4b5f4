"""Failed jobs, through the pool whose queue it is: listed, tried again, thrown away."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated

from aiohttp import web
from msgspec import Meta, Struct

from chaperone_async.service import queue_wire as wire
from chaperone_async.service.http.answers import FACE, MOST, json_response
from chaperone_async.service.http.auth import caller
from chaperone_async.service.http.inputs import read_query
from chaperone_async.service.http.problems import Refused
from chaperone_async.service.http.route import Route
from chaperone_async.service.queue_views import view_failed
from chaperone_async.service.queues import FailedJobs

Pool = Annotated[
    str | None, Meta(description="whose; needed where several pools take a queue of this name from different places")
]

Act = Callable[[str, str | None, Sequence[str] | None, str], Awaitable[int]]
"""(queue, pool, ids, by whom) → to how many jobs it was done; ids None: all."""


class OfPoolQuery(Struct, frozen=True):
    pool: Pool = None


class FailedQuery(Struct, frozen=True):
    limit: Annotated[int, Meta(ge=1, le=MOST, description="at most so many, the newest")] = 100
    after: Annotated[str | None, Meta(description="those that come after this id, which was `next` of a page")] = None
    pool: Pool = None


async def list_failed(request: web.Request) -> web.Response:
    query, queue = read_query(request, FailedQuery), request.match_info["queue"]
    pool, page = await _jobs(request).page(queue, query.pool, query.limit, query.after)
    return json_response(view_failed(queue, pool, page))


async def retry(request: web.Request) -> web.Response:
    answer: wire.RetriedDocument = {"retried": await _act(request, _jobs(request).retry)}
    return json_response(answer)


async def flush(request: web.Request) -> web.Response:
    answer: wire.FlushedDocument = {"flushed": await _act(request, _jobs(request).flush)}
    return json_response(answer)


async def _act(request: web.Request, act: Act) -> int:
    """On the one job that the path names, or on all; to how many it was done."""
    pool, queue, job = read_query(request, OfPoolQuery).pool, request.match_info["queue"], request.match_info.get("id")
    many = await act(queue, pool, None if job is None else [job], caller(request))
    if job is not None and not many:
        raise Refused(404, f"there is no failed job {job!r} in the queue {queue!r}")
    return many


def _jobs(request: web.Request) -> FailedJobs:
    return FailedJobs(request.app[FACE].supervisor)


_FAILED = "/api/v1/queues/{queue}/failed"
_PROBLEMS = (409, 502, 503)
_RETRIED, _FLUSHED = {200: wire.RetriedDocument}, {200: wire.FlushedDocument}

ROUTES = (
    Route(
        method="GET", path=_FAILED, handler=list_failed, access="read",
        summary="The failed jobs of a queue", query=FailedQuery, answers={200: wire.FailedDocument}, problems=_PROBLEMS,
    ),
    Route(
        method="DELETE", path=_FAILED, handler=flush, access="change",
        summary="Throw all failed jobs of a queue away", query=OfPoolQuery, answers=_FLUSHED, problems=_PROBLEMS,
    ),
    Route(
        method="POST", path=f"{_FAILED}/retry", handler=retry, access="change",
        summary="Have all failed jobs of a queue done once more", query=OfPoolQuery, answers=_RETRIED,
        problems=_PROBLEMS,
    ),
    Route(
        method="POST", path=f"{_FAILED}/{{id}}/retry", handler=retry, access="change",
        summary="Have one failed job done once more", query=OfPoolQuery, answers=_RETRIED, problems=_PROBLEMS,
    ),
    Route(
        method="DELETE", path=f"{_FAILED}/{{id}}", handler=flush, access="change",
        summary="Throw one failed job away", query=OfPoolQuery, answers=_FLUSHED, problems=_PROBLEMS,
        matches=f"{_FAILED}/{{id:(?!retry$)[^/]+}}",
    ),
)  # fmt: skip
