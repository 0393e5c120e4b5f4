"""Redis goes away for a while, under RQ: the pool survives, says so, and works on."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.service import ROOT, Launch, until

APP = """
def mark(path, text):
    with open(path, "a") as file:
        file.write(text + "\\n")
"""


@contextmanager
def redis_on(port: int, directory: Path) -> Iterator[str]:
    """A server of its own, which keeps what it holds when it is stopped."""
    words = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(directory), "--appendonly", "yes"]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL) as server:
        try:
            until(lambda: _answers(port))
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            server.terminate()


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(7).startswith(b"+PONG")
    except OSError:
        return False


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.mark.timeout(200)
def test_rq_survives_an_outage_of_redis(launch: Launch, tmp_path: Path) -> None:
    from redis import Redis
    from rq import Queue

    (tmp_path / "outage_app.py").write_text(APP)
    port, marks = free_port(), tmp_path / "marks"

    def enqueue(text: str) -> None:
        with Redis.from_url(f"redis://127.0.0.1:{port}/0") as client:
            Queue("mail", connection=client).enqueue("outage_app.mark", str(marks), text)

    with redis_on(port, tmp_path) as url:
        service = launch(f"""
            [pools.mail]
            backend = "rq"
            queue = "mail"
            workers = 2
            directory = "{tmp_path}"
            env = {{ PYTHONPATH = "{ROOT}:{tmp_path}" }}
            rq = {{ url = "{url}" }}
            python = "{sys.executable}"
            health.stall = "15s"
        """)
        enqueue("before")
        service.until(lambda: marks.exists() and marks.read_text() == "before\n")
        before = service.pids("mail")
    service.until(lambda: service.lines("the queue cannot be read"))
    assert service.get("/livez").status == service.get("/readyz").status == 200
    assert service.pool("mail")["degraded"]
    with redis_on(port, tmp_path):
        service.until(lambda: service.lines("the queue can be read again"))
        for number in range(4):
            enqueue(str(number))
        service.until(lambda: sorted(marks.read_text().split()) == ["0", "1", "2", "3", "before"])
        # One that had not found back in time may have been recycled: then its successor is there before it goes.
        service.until(lambda: not service.pool("mail")["degraded"] and len(service.pids("mail")) == len(before) == 2)
        service.stop()
