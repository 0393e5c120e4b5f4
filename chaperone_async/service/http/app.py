"""The application: the table's routes, behind permission, with problems for answers where something is wrong."""

import re
from collections.abc import Sequence

from aiohttp import web

from chaperone_async.service.http.answers import FACE
from chaperone_async.service.http.auth import require_permission
from chaperone_async.service.http.connection import DEFAULT, Bounds, mark_busy
from chaperone_async.service.http.face import Face
from chaperone_async.service.http.inputs import BODY_TIME, refuse_undeclared
from chaperone_async.service.http.openapi import DESCRIPTION, Description
from chaperone_async.service.http.problems import MOST_BODY, answer_problems
from chaperone_async.service.http.route import Handler, Route
from chaperone_async.service.http.streams import STREAMS, Streams
from chaperone_async.service.http.table import TABLE

BODY_LIMIT = 1 << 20
_SEGMENT = re.compile(r"\{(\w+)\}")
"""Of a path. aiohttp's own takes no braces, which a queue's name may have, as Laravel's on a Redis cluster."""


def make_app(
    face: Face, routes: Sequence[Route] = TABLE, bounds: Bounds = DEFAULT, *, loopback_only: bool = False
) -> web.Application:
    """`loopback_only`: see `rules.House`."""
    bound = {_bind(route): route for route in routes}
    guard = require_permission(face.entrance, bound, loopback_only=loopback_only)
    app = web.Application(middlewares=[mark_busy, answer_problems, guard], client_max_size=BODY_LIMIT)
    app[FACE] = face
    app[DESCRIPTION] = Description(routes, face.views.version, face.entrance.access.schemes)
    app[MOST_BODY] = BODY_LIMIT
    app[BODY_TIME] = bounds.body
    app[STREAMS] = Streams()
    app.on_shutdown.append(lambda _: app[STREAMS].end_all())
    for handler, route in bound.items():
        path = _SEGMENT.sub(r"{\1:[^/]+}", route.matches or route.path)
        if route.method == "GET":
            app.router.add_get(path, handler)  # and HEAD
        else:
            app.router.add_route(route.method, path, handler)
    app.on_response_prepare.append(_add_headers)
    return app


def _bind(route: Route) -> Handler:
    """A handler of its own for each route: it tells which route a request has come to."""

    async def handle(request: web.Request) -> web.StreamResponse:
        refuse_undeclared(request, route)
        return await route.handler(request)

    return handle


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = "chaperone"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers.setdefault("Cache-Control", "no-store")
