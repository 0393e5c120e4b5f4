"""Asks the rules for permission, and knows who it is that asks."""

import socket
import struct
from collections.abc import Mapping
from contextvars import ContextVar
from functools import lru_cache

from aiohttp import web
from aiohttp.typedefs import Middleware

from chaperone_async.service.http.access import Refuted, Verified
from chaperone_async.service.http.entrance import Entrance
from chaperone_async.service.http.problems import Refused
from chaperone_async.service.http.route import Handler, Route
from chaperone_async.service.http.rules import House, Refusal, Visit, decide

_SHOWN: ContextVar[Verified | Refuted | None] = ContextVar("shown", default=None)  # of the request in this task
_UCRED = struct.Struct("iII")  # struct ucred: pid, uid, gid


def require_permission(entrance: Entrance, routes: Mapping[Handler, Route], *, loopback_only: bool) -> Middleware:
    """`loopback_only`: see `rules.House`. What is at no route is closed as reading is: it changes nothing, and even its
    absence is nobody's business."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        access, route = entrance.access, routes.get(request.match_info.handler)
        house = House(credentials=not access.open, loopback_only=loopback_only)
        wanted = "read" if route is None else route.access
        over_tcp = not over_unix(request)
        shown: Verified | Refuted | None = None
        if over_tcp and house.credentials and wanted != "open":
            shown = await access.verify(request.headers.get("Authorization"))
        _SHOWN.set(shown)
        visit = Visit(
            access=wanted, transport="tcp" if over_tcp else "unix", shown=shown, host=request.headers.get("Host"),
            origin=request.headers.get("Origin"), fetch_site=request.headers.get("Sec-Fetch-Site"),
        )  # fmt: skip
        verdict = decide(visit, house)
        if isinstance(verdict, Refusal):
            challenge = {"WWW-Authenticate": access.challenge} if verdict.status == 401 else None
            raise Refused(verdict.status, verdict.why, challenge)
        return await handler(request)

    return check


def over_unix(request: web.Request) -> bool:
    connection = request.get_extra_info("socket")
    return connection is not None and connection.family == socket.AF_UNIX


def caller(request: web.Request) -> str:
    """Who asks, for `by`: `alice (uid 1000)`, `user admin`, `token`, or an address such as `127.0.0.1`.

    To be called in the task that handles the request.
    """
    if over_unix(request):
        return _peer(request)
    shown = _SHOWN.get()
    return shown.who if isinstance(shown, Verified) else request.remote or "somebody over TCP"


def _peer(request: web.Request) -> str:
    """Whom the kernel saw connect. Only for the record: the mode of the socket's file has let them in, and a second
    gate could only contradict it."""
    if not hasattr(socket, "SO_PEERCRED"):  # macOS
        return "somebody over the unix socket"
    connection = request.get_extra_info("socket")
    _, uid, _ = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return _account(uid)


@lru_cache(64)
def _account(uid: int) -> str:
    from pwd import getpwuid

    try:
        return f"{getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:
        return f"uid {uid}"
