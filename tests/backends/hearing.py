"""A supervisor's notify socket, listened to by the test itself: what a worker that is run by hand says over it."""

import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

Message = dict[str, str]


class Hearing:
    """What was said so far, in order."""

    def __init__(self, listener: socket.socket, path: Path) -> None:
        self.path = path
        self.said: list[Message] = []
        self._listener = listener

    def listen(self) -> None:
        """The kernel keeps ten messages for who does not."""
        while data := self._listener.recv(16_384):
            self.said.append(dict(line.split("=", 1) for line in data.decode().splitlines()))

    def count(self, word: str) -> int:
        return sum(message.get(word) == "1" for message in self.said)

    def runs(self, job_name: str) -> list[str]:
        """How each run of these jobs ended: "ok", or its error."""
        events = [message for message in self.said if message.get("X_CHAPERONE_NAME") == job_name]
        begun, ended = events[::2], events[1::2]
        assert all(message["X_CHAPERONE_EVENT"] == "start" for message in begun), events
        assert all(message["X_CHAPERONE_EVENT"] == "end" for message in ended), events
        return ["ok" if m["X_CHAPERONE_OK"] == "1" else m["X_CHAPERONE_ERROR"] for m in ended]


@contextmanager
def hearing() -> Iterator[Hearing]:
    with tempfile.TemporaryDirectory() as place, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        path = Path(place) / "notify"
        listener.bind(str(path))
        heard = Hearing(listener, path)
        thread = threading.Thread(target=heard.listen)
        thread.start()
        try:
            yield heard
        finally:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
                last.sendto(b"", str(path))
            thread.join()
