"""What handlers need again and again: an answer in JSON, and numbers out of a query."""

from typing import Any

import orjson
from aiohttp import web

from chaperone_async.service.http.face import Face
from chaperone_async.service.http.problems import Refused
from chaperone_async.supervision.supervisor import PoolView

FACE = web.AppKey("face", Face)
MOST = 10_000


def json_response(data: Any, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(data), status=status, content_type="application/json")


def wants_json(request: web.Request) -> bool:
    return "application/json" in request.headers.get("Accept", "")


def count_in_query(request: web.Request, name: str) -> int | None:
    """None where the query does not say."""
    text = request.query.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= MOST and len(text) <= 6):
        raise Refused(400, f"cannot use {name}={text[:50]!r}: it must be a whole number from 1 to {MOST}, such as 20")
    return int(text)


def find_pool(request: web.Request) -> PoolView:
    """The one the path names. Raises UnknownPool."""
    supervisor = request.app[FACE].supervisor
    return supervisor.view(supervisor.runner(request.match_info["pool"]))
