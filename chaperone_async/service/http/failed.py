"""Failed jobs, through the pool whose queue it is: listed, tried again, thrown away."""

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


async def retry_all(request: web.Request) -> web.Response:
    pool, queue = read_query(request, OfPoolQuery).pool, request.match_info["queue"]
    answer: wire.RetriedDocument = {"retried": await _jobs(request).retry(queue, pool, None, caller(request))}
    return json_response(answer)


async def retry_one(request: web.Request) -> web.Response:
    pool, queue, job = read_query(request, OfPoolQuery).pool, request.match_info["queue"], request.match_info["id"]
    many = await _jobs(request).retry(queue, pool, [job], caller(request))
    answer: wire.RetriedDocument = {"retried": _some(many, queue, job)}
    return json_response(answer)


async def flush_all(request: web.Request) -> web.Response:
    pool, queue = read_query(request, OfPoolQuery).pool, request.match_info["queue"]
    answer: wire.FlushedDocument = {"flushed": await _jobs(request).flush(queue, pool, None, caller(request))}
    return json_response(answer)


async def flush_one(request: web.Request) -> web.Response:
    pool, queue, job = read_query(request, OfPoolQuery).pool, request.match_info["queue"], request.match_info["id"]
    many = await _jobs(request).flush(queue, pool, [job], caller(request))
    answer: wire.FlushedDocument = {"flushed": _some(many, queue, job)}
    return json_response(answer)


def _jobs(request: web.Request) -> FailedJobs:
    return FailedJobs(request.app[FACE].supervisor)


def _some(many: int, queue: str, job: str) -> int:
    if not many:
        raise Refused(404, f"there is no failed job {job!r} in the queue {queue!r}")
    return many


_FAILED = "/api/v1/queues/{queue}/failed"
_PROBLEMS = (409, 502, 503)
_RETRIED, _FLUSHED = {200: wire.RetriedDocument}, {200: wire.FlushedDocument}

ROUTES = (
    Route(
        method="GET", path=_FAILED, handler=list_failed, access="read",
        summary="The failed jobs of a queue", query=FailedQuery, answers={200: wire.FailedDocument}, problems=_PROBLEMS,
    ),
    Route(
        method="DELETE", path=_FAILED, handler=flush_all, access="change",
        summary="Throw all failed jobs of a queue away", query=OfPoolQuery, answers=_FLUSHED, problems=_PROBLEMS,
    ),
    Route(
        method="POST", path=f"{_FAILED}/retry", handler=retry_all, access="change",
        summary="Have all failed jobs of a queue done once more", query=OfPoolQuery, answers=_RETRIED,
        problems=_PROBLEMS,
    ),
    Route(
        method="POST", path=f"{_FAILED}/{{id}}/retry", handler=retry_one, access="change",
        summary="Have one failed job done once more", query=OfPoolQuery, answers=_RETRIED, problems=_PROBLEMS,
    ),
    Route(
        method="DELETE", path=f"{_FAILED}/{{id}}", handler=flush_one, access="change",
        summary="Throw one failed job away", query=OfPoolQuery, answers=_FLUSHED, problems=_PROBLEMS,
        matches=f"{_FAILED}/{{id:(?!retry$)[^/]+}}",
    ),
)  # fmt: skip
