"""Answers without an end. What is held for a client is bounded, nobody but the stream's own task waits for it, and all
streams end when the server does."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import orjson
from aiohttp import web

EVENT_STREAM = "text/event-stream"
BUFFERED = 32 << 10
"""Bytes, in our own buffer for a client's socket, from which on its stream waits; a piece more may be in it."""
SENT = 64 << 10
"""Bytes that the kernel is asked to hold for a client. It takes twice that, for its own bookkeeping too."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds. `goodbye`: for a client that did not read, to take the news that it is cut off."""

    heartbeat: float = 15.0
    goodbye: float = 5.0


@dataclass(slots=True)
class Streams:
    """All that are open now."""

    pace: Pace = field(default_factory=Pace)
    _ends: list[Callable[[], None]] = field(default_factory=list)

    @contextmanager
    def ending(self, end: Callable[[], None]) -> Iterator[None]:
        """`end` is called when the server ends: what is there may still be sent, quickly."""
        self._ends.append(end)
        try:
            yield
        finally:
            self._ends.remove(end)

    async def end_all(self) -> None:
        for end in tuple(self._ends):
            end()


STREAMS = web.AppKey("streams", Streams)


class Stream:
    """One client."""

    def __init__(self, request: web.Request, response: web.StreamResponse) -> None:
        self._request = request
        self._response = response
        self._pace = request.app[STREAMS].pace

    async def wait(self, more: Callable[[], Awaitable[bool]], beat: Callable[[], bytes] = bytes) -> bool:
        """What `more` answers, whenever that is. False, too, when the client has gone. `beat` makes what tells it, and
        proxies before it, that the silence is no break."""
        while self._request.transport is not None:
            with anyio.move_on_after(self._pace.heartbeat):
                return await more()
            await self.send(beat())
        return False

    async def send(self, data: bytes) -> None:
        """Waits for the client to read. Raises ConnectionError when it has gone."""
        if data:
            await _unharmed(self._response.write(data))

    async def cut_off(self, last: bytes) -> None:
        """The last words come behind what the client has not read yet; it has a moment to do so."""
        with anyio.move_on_after(self._pace.goodbye) as patience:
            await self.send(last)
            await self.end()
        if patience.cancelled_caught:
            self.abort()

    async def end(self) -> None:
        """Waits until the kernel has all of it: nothing is left behind in a connection that nobody looks after."""
        if isinstance(self._request.transport, asyncio.WriteTransport):
            self._request.transport.set_write_buffer_limits(high=0)
        await _unharmed(self._response.write_eof())

    def abort(self) -> None:
        if isinstance(self._request.transport, asyncio.WriteTransport):
            self._request.transport.abort()


async def _unharmed(writing: Coroutine[Any, Any, None]) -> None:
    """aiohttp lets all who wait for a connection share one future: to cancel one of them would be to cancel all that
    come after it."""
    await asyncio.shield(asyncio.ensure_future(writing))


async def stream(
    request: web.Request, content_type: str, body: Callable[[Stream], Awaitable[object]]
) -> web.StreamResponse:
    """Answers with whatever `body` sends, until it returns."""
    response = web.StreamResponse(headers={"Content-Type": content_type, "X-Accel-Buffering": "no"})
    response.force_close()
    client = Stream(request, response)
    try:
        await response.prepare(request)
        if request.method != "HEAD":
            _bound(request)
            await body(client)
            await client.end()
    except ConnectionError:  # not always one of its kinds: aiohttp wakes who waits for a client with the plain one
        return response  # the client has gone, as clients do
    except asyncio.CancelledError:
        client.abort()  # the server ends, and has waited for this client as long as it does
        raise
    return response


def _bound(request: web.Request) -> None:
    transport, connection = request.transport, request.get_extra_info("socket")
    if isinstance(transport, asyncio.WriteTransport):
        transport.set_write_buffer_limits(high=BUFFERED)
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SENT)


def accepts(request: web.Request, content_type: str) -> bool:
    return content_type in request.headers.get("Accept", "")


def event(kind: str | None, data: Any, number: str | None = None) -> bytes:
    """One server-sent event. `number`: what `Last-Event-ID` is from then on."""
    named = b"" if kind is None else b"event: %b\n" % kind.encode()
    numbered = b"" if number is None else b"id: %b\n" % number.encode()
    return b"%b%bdata: %b\n\n" % (numbered, named, orjson.dumps(data))
