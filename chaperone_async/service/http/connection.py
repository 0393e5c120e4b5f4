"""One client's connection, with bounds: a client that begins no request in time is cut off, and so is the one that has
been quiet for longest when there are too many."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from chaperone_async.service.http.problems import FAILED, LOG, problem
from chaperone_async.service.http.route import Handler
from chaperone_async.system import reserve


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Times in seconds. `first_request`: until a new client must have sent the head of its first request.
    `next_request`: until one must have taken its answer and sent the next head. `lingering`: until it must have sent
    the rest of a body that nobody wants. `body`: until it must have sent one that is wanted."""

    connections: int = 512
    first_request: float = 10.0
    next_request: float = 75.0
    lingering: float = 2.0
    body: float = 30.0


DEFAULT = Bounds()
_A_FEW = 32


class Crowd:
    """All connections, the one whose last request is longest ago first."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self._members: dict[Connection, None] = {}

    def __iter__(self) -> Iterator["Connection"]:
        return iter(self._members)

    def enter(self, connection: "Connection") -> None:
        """Whoever comes is let in, for it may be a probe; another one goes, one that waits before one that works."""
        if len(self._members) >= self.bounds.connections:
            leaver = next((member for member in self._members if not member.busy), next(iter(self._members)))
            self.leave(leaver)
            leaver.cut_off()
        self._members[connection] = None
        if len(self._members) % _A_FEW == 0:  # what is left must do to look after workers that die
            reserve.grow()

    def refresh(self, connection: "Connection") -> None:
        if connection in self._members:
            del self._members[connection]
            self._members[connection] = None

    def leave(self, connection: "Connection") -> None:
        self._members.pop(connection, None)


class Connection(web.RequestHandler):
    __slots__ = ("_crowd", "_patience", "busy")

    def __init__(self, server: web.Server, crowd: Crowd, loop: asyncio.AbstractEventLoop) -> None:
        bounds = crowd.bounds
        super().__init__(
            server, loop=loop, logger=LOG, lingering_time=bounds.lingering,
            keepalive_timeout=bounds.next_request + 1,  # ours comes first, and ends unfinished heads and answers too
            access_log=None,  # type: ignore[arg-type]  # none is documented, but not typed
        )  # fmt: skip
        self._crowd = crowd
        self._patience: asyncio.TimerHandle | None = None
        self.busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._crowd.enter(self)
        self._expect_request(self._crowd.bounds.first_request)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._crowd.leave(self)
        self._stop_waiting()
        super().connection_lost(exc)

    def begin_request(self) -> None:
        self.busy = True
        self._stop_waiting()
        self._crowd.refresh(self)

    def end_request(self) -> None:
        self.busy = False
        if self.transport is not None:
            self._expect_request(self._crowd.bounds.next_request)

    def cut_off(self) -> None:
        """At once: what is still to be written is not waited for."""
        if isinstance(self.transport, asyncio.Transport):
            self.transport.abort()

    def _expect_request(self, seconds: float) -> None:
        self._stop_waiting()
        self._patience = self._loop.call_later(seconds, self.cut_off)

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Outside the application: mostly what is not HTTP. Anybody can send that, so it is not worth a log."""
        if status == 500:
            LOG.error("cannot answer %s", request.remote or "a client", exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("cannot answer with an error: a part of another answer has been sent")
        detail = FAILED if status == 500 else f"the request is not valid HTTP: {' '.join((message or '').split())}"
        response = problem(status, detail, request.rel_url.raw_path, {"Server": "chaperone"})
        response.force_close()
        return response


@web.middleware
async def mark_busy(request: web.Request, handler: Handler) -> web.StreamResponse:
    connection: Any = request.protocol
    if not isinstance(connection, Connection):
        return await handler(request)
    connection.begin_request()
    try:
        return await handler(request)
    finally:
        connection.end_request()
