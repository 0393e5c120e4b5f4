"""Asks TCP clients for credentials. The unix socket is guarded by its file's permissions, the probes by nothing."""

import socket
from collections.abc import Mapping

from aiohttp import web
from aiohttp.typedefs import Middleware

from chaperone_async.service.http.access import Access
from chaperone_async.service.http.problems import Refused
from chaperone_async.service.http.route import Handler, Route


def require_credentials(access: Access, routes: Mapping[Handler, Route]) -> Middleware:
    """What no route is found for is closed too."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        route = routes.get(request.match_info.handler)
        is_open = route is not None and route.access == "open"
        if not access.open and not is_open and not over_unix(request):
            why = await access.refusal(request.headers.get("Authorization"))
            if why is not None:
                raise Refused(401, why, {"WWW-Authenticate": access.challenge})
        return await handler(request)

    return check


def over_unix(request: web.Request) -> bool:
    connection = request.get_extra_info("socket")
    return connection is not None and connection.family == socket.AF_UNIX
