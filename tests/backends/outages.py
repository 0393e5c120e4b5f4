"""What breaks between workers and their server: a line that goes dead, and a server that goes away and comes back."""

import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from threading import Event, Thread
from typing import Self

from redis import Redis
from redis.exceptions import RedisError

from tests.backends import keeper
from tests.e2e.service import until


class Line(Thread):
    """Between workers and a server. What is connected can be cut so that neither side hears of it."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._selector = DefaultSelector()
        self._selector.register(self._listener, EVENT_READ)
        self._other: dict[socket.socket, socket.socket] = {}
        self._cut, self._over = Event(), Event()
        self.port = self._listener.getsockname()[1]

    def cut(self) -> None:
        self._cut.set()
        until(lambda: not self._cut.is_set())

    def run(self) -> None:
        while not self._over.is_set():
            if self._cut.is_set():
                for end in self._other:
                    with suppress(KeyError):
                        self._selector.unregister(end)
                self._cut.clear()
            for key, _ in self._selector.select(0.05):
                if key.fileobj is self._listener:
                    self._connect()
                elif isinstance(key.fileobj, socket.socket):
                    self._pass_on(key.fileobj)

    def _connect(self) -> None:
        near, far = self._listener.accept()[0], socket.create_connection(("127.0.0.1", self._target))
        self._other |= {near: far, far: near}
        for end in (near, far):
            self._selector.register(end, EVENT_READ)

    def _pass_on(self, end: socket.socket) -> None:
        other = self._other.get(end)
        if other is None:  # closed with its other end, which was ready at the same time
            return
        try:
            data = end.recv(65536)
            other.sendall(data)
        except OSError:
            data = b""
        if not data:
            for one in (end, other):
                self._selector.unregister(one)
                one.close()
                del self._other[one]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()
        for end in (*self._other, self._listener):
            end.close()
        self._selector.close()


class OwnRedis:
    """One that can be stopped, and comes back with what it had."""

    def __init__(self, home: Path) -> None:
        self._words = [*(server := keeper.Redis(home)).prepare(), "--dir", str(home), "--appendonly", "yes"]
        self.url = f"{server.url}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._words, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        with Redis.from_url(self.url) as client:
            until(lambda: self._answers(client))

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    @staticmethod
    def _answers(client: Redis) -> bool:
        try:
            return bool(client.ping())
        except RedisError:
            return False
