"""A client of streams: server-sent events, one by one, over a socket of its own."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import anyio
from aiohttp import web

from chaperone_async.service.http.route import Route

PATIENCE = 60.0


class Ended(Exception):
    """The orderly end of the stream."""


class Event(NamedTuple):
    kind: str
    data: Any
    id: str


@dataclass
class Reader:
    """`last_id` is what the client would come back with; `comments` are heartbeats."""

    head: str
    _chunks: asyncio.StreamReader
    _writer: asyncio.StreamWriter
    last_id: str = ""
    comments: list[str] = field(default_factory=list)
    _rest: bytes = b""

    async def next(self) -> Event:
        """Raises Ended; and ConnectionError or IncompleteReadError at another end."""
        kind, data = "message", list[str]()
        while line := await self._line():
            name, _, value = line.partition(": ")
            match name:
                case "":
                    self.comments.append(value)
                case "id":
                    self.last_id = value
                case "event":
                    kind = value
                case "data":
                    data.append(value)
        return Event(kind, json.loads("\n".join(data)), self.last_id) if data else await self.next()

    async def take(self, count: int) -> list[Event]:
        with anyio.fail_after(PATIENCE):
            return [await self.next() for _ in range(count)]

    async def rest(self) -> list[Event]:
        """To the orderly end."""
        events: list[Event] = []
        with anyio.fail_after(PATIENCE):
            while True:
                try:
                    events.append(await self.next())
                except Ended:
                    return events

    async def text(self, until: str) -> str:
        """All up to where this has come."""
        read = self._rest
        with anyio.fail_after(PATIENCE):
            while until.encode() not in read:
                read += await self._chunk()
        end = read.index(until.encode()) + len(until.encode())
        self._rest = read[end:]
        return read[:end].decode()

    async def whole(self) -> str:
        read = self._rest
        with anyio.fail_after(PATIENCE):
            while True:
                try:
                    read += await self._chunk()
                except Ended:
                    return read.decode()

    async def _line(self) -> str:
        while b"\n" not in self._rest:
            self._rest += await self._chunk()
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()

    async def _chunk(self) -> bytes:
        size = int(await self._chunks.readuntil(b"\r\n"), 16)
        chunk = (await self._chunks.readexactly(size + 2))[:-2]
        if not size:
            raise Ended
        return chunk

    def kill(self) -> None:
        self._writer.transport.abort()


async def connect(port: int, path: str, *, window: int | None = None, **headers: str) -> Reader:
    """Once the head of the answer is there. `window`: what the kernel holds for a client that does not read."""
    connection = socket.socket()
    if window is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    connection.setblocking(False)
    await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
    chunks, writer = await asyncio.open_connection(sock=connection, limit=1 << 20 if window is None else 1 << 12)
    given = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{given}\r\n".encode())
    with anyio.fail_after(PATIENCE):
        head = (await chunks.readuntil(b"\r\n\r\n")).decode()
    return Reader(head, chunks, writer)


@dataclass
class Watched:
    """A route, with what comes of one request to it."""

    route: Route
    protocol: web.RequestHandler | None = None
    outcome: web.StreamResponse | BaseException | None = None

    @property
    def watching(self) -> Route:
        return replace(self.route, handler=self._answer)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.protocol = request.protocol
        try:
            self.outcome = await self.route.handler(request)
        except BaseException as error:
            self.outcome = error
            raise
        return self.outcome

    async def until_waiting(self, more: Callable[[], object]) -> None:
        """For its client to read: there is `more` until then."""
        with anyio.fail_after(PATIENCE):
            while self.protocol is None or self.protocol._drain_waiter is None:
                more()
                await asyncio.sleep(0)

    async def until_answered(self) -> None:
        with anyio.fail_after(PATIENCE):
            while self.outcome is None:
                await asyncio.sleep(0.002)


@asynccontextmanager
async def reading(port: int, path: str, *, accept: str = "text/event-stream", **headers: str) -> AsyncIterator[Reader]:
    reader = await connect(port, path, window=None, Accept=accept, **headers)
    try:
        yield reader
    finally:
        reader.kill()
