"""Refusals and failures as `application/problem+json` (RFC 9457)."""

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus

import orjson
from aiohttp import web

from chaperone_async.errors import (
    ConfigError,
    ConflictError,
    DuplicatePool,
    QueueError,
    QueueUnavailable,
    UnknownOperation,
    UnknownPool,
    UnknownQueue,
    UnknownWorker,
)
from chaperone_async.service.control import UnacceptableError
from chaperone_async.service.http.route import Handler

LOG = logging.getLogger("chaperone")
FAILED = "the request could not be answered because of an error in the supervisor; its log says which"


class Refused(Exception):
    """Raised by handlers: the request is answered with this status, and `detail` says why and what would be valid."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers


_STATUSES: Mapping[type[Exception], int] = {
    UnknownPool: 404,
    UnknownWorker: 404,
    UnknownQueue: 404,
    UnknownOperation: 404,
    ConflictError: 409,
    DuplicatePool: 409,
    UnacceptableError: 422,
    ConfigError: 422,
    QueueUnavailable: 503,  # a QueueError too: the first that fits counts
    QueueError: 502,
}


def problem(
    status: int, detail: str, instance: str, headers: Mapping[str, str] | None = None, errors: Sequence[str] = ()
) -> web.Response:
    """`errors`: one line each, where several things are wrong."""
    body: dict[str, object] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": instance,
    }
    if errors:
        body["errors"] = list(errors)
    return web.Response(
        status=status, body=orjson.dumps(body), content_type="application/problem+json", headers=headers
    )


@web.middleware
async def answer_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Refused as refused:
        return problem(refused.status, refused.detail, _instance(request), refused.headers)
    except tuple(_STATUSES) as error:
        errors = error.problems if isinstance(error, ConfigError) else ()
        status = next(status for kind, status in _STATUSES.items() if isinstance(error, kind))
        return problem(status, str(error), _instance(request), errors=errors)
    except web.HTTPException as error:
        return _translate(error, request)
    except Exception:
        LOG.exception("cannot answer %s %s", request.method, request.path)
        return problem(500, FAILED, _instance(request))


def _translate(error: web.HTTPException, request: web.Request) -> web.StreamResponse:
    """What aiohttp itself refuses."""
    if error.status < 400:
        raise error
    headers: dict[str, str] = {}
    match error:
        case web.HTTPMethodNotAllowed():
            allowed = ", ".join(sorted(error.allowed_methods))
            headers["Allow"] = allowed
            detail = f"{request.method} is not possible here; use {allowed}"
        case web.HTTPRequestEntityTooLarge():
            detail = f"the body is too large; send at most {request.app[MOST_BODY]} bytes"
        case web.HTTPNotFound():
            detail = f"there is nothing at {_instance(request)}; the API is under /api/v1"
        case _:
            detail = error.text or error.reason
    return problem(error.status, detail, _instance(request), headers)


MOST_BODY = web.AppKey("most_body", int)


def _instance(request: web.BaseRequest) -> str:
    return request.rel_url.raw_path
