"""Asks TCP clients for credentials. The unix socket is guarded by its file's permissions, the probes by nothing."""

import socket

from aiohttp import web
from aiohttp.typedefs import Middleware

from chaperone_async.service.http.access import Access
from chaperone_async.service.http.problems import Handler, Refused


def require_credentials(access: Access, open_to_all: frozenset[object]) -> Middleware:
    """`open_to_all`: handlers that answer anybody."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not access.open and request.match_info.handler not in open_to_all and not over_unix(request):
            why = await access.refusal(request.headers.get("Authorization"))
            if why is not None:
                raise Refused(401, why, {"WWW-Authenticate": access.challenge})
        return await handler(request)

    return check


def over_unix(request: web.Request) -> bool:
    connection = request.get_extra_info("socket")
    return connection is not None and connection.family == socket.AF_UNIX
