"""Serves the face on sockets that listen already. Importing this brings aiohttp, and does nothing else."""

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial

import anyio
from aiohttp import web

from chaperone_async.service.http.app import make_app
from chaperone_async.service.http.connection import DEFAULT, Bounds, Connection, Crowd
from chaperone_async.service.http.face import Face
from chaperone_async.service.http.listen import BACKLOG, Listener, loopback_only
from chaperone_async.service.http.route import Route
from chaperone_async.service.http.table import TABLE

HANDSHAKE = 10.0
FINISH = 0.3
"""Seconds for running requests at the end, before they are cancelled, and as many after."""
CLOSE = 1.0


async def serve(
    face: Face, listeners: Sequence[Listener], bounds: Bounds = DEFAULT, routes: Sequence[Route] = TABLE
) -> None:
    """Until cancelled; then the listeners are closed, and every connection within a second."""
    # A request that changes something is carried out even if the client has gone: no handler is cancelled for that.
    app = make_app(face, routes, bounds, loopback_only=loopback_only(listeners))
    runner = web.AppRunner(app, access_log=None, handler_cancellation=False, shutdown_timeout=FINISH)
    await runner.setup()
    assert runner.server is not None  # noqa: S101  setup has made it, which its type cannot say
    loop = asyncio.get_running_loop()
    accept = partial(Connection, runner.server, Crowd(bounds), loop)
    with ExitStack() as closing:
        try:
            for listener in listeners:
                closing.callback(listener.close)
                secure = None if listener.is_unix else face.entrance.tls
                # A duplicate, for the listener's own must be open while it removes its path.
                server = await loop.create_server(
                    accept, sock=listener.socket.dup(), backlog=BACKLOG, ssl=secure,
                    ssl_handshake_timeout=None if secure is None else HANDSHAKE,
                )  # fmt: skip
                closing.callback(server.close)
            await anyio.sleep_forever()
        finally:
            closing.close()
            with anyio.move_on_after(CLOSE, shield=True):
                await runner.cleanup()
