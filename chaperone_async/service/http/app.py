"""The application: every noun's routes, behind credentials, with problems for answers where something is wrong."""

from aiohttp import web

from chaperone_async.service.http import crashes, pools, probes, status, workers
from chaperone_async.service.http.access import Access
from chaperone_async.service.http.answers import FACE
from chaperone_async.service.http.auth import require_credentials
from chaperone_async.service.http.connection import mark_busy
from chaperone_async.service.http.face import Face
from chaperone_async.service.http.problems import MOST_BODY, answer_problems

BODY_LIMIT = 1 << 20
NOUNS = (status, pools, workers, crashes)


def make_app(face: Face) -> web.Application:
    """Raises ConfigError for a password hash that cannot be read."""
    open_routes = probes.routes()
    guard = require_credentials(Access(face.token, face.users), frozenset(route.handler for route in open_routes))
    app = web.Application(middlewares=[mark_busy, answer_problems, guard], client_max_size=BODY_LIMIT)
    app[FACE] = face
    app[MOST_BODY] = BODY_LIMIT
    app.add_routes(open_routes)
    for noun in NOUNS:
        app.add_routes(noun.routes())
    app.on_response_prepare.append(_add_headers)
    return app


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = "chaperone"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers.setdefault("Cache-Control", "no-store")
