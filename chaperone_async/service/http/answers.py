"""What handlers need again and again: an answer in JSON, and the pool that the path names."""

from typing import Any

import orjson
from aiohttp import web

from chaperone_async.service.http.face import Face
from chaperone_async.supervision.supervisor import PoolView

FACE = web.AppKey("face", Face)
MOST = 10_000
"""The upper end of every `limit`."""


def json_response(data: Any, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(data), status=status, content_type="application/json")


def wants_json(request: web.Request) -> bool:
    return "application/json" in request.headers.get("Accept", "")


def find_pool(request: web.Request) -> PoolView:
    """The one the path names. Raises UnknownPool."""
    supervisor = request.app[FACE].supervisor
    return supervisor.view(supervisor.runner(request.match_info["pool"]))
