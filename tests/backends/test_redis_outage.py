"""Redis goes away for a while, under RQ: the pool survives, says so, and works on."""

import sys
from pathlib import Path

import pytest

from tests.backends.outages import OwnRedis
from tests.e2e.service import ROOT, Launch

APP = """
def mark(path, text):
    with open(path, "a") as file:
        file.write(text + "\\n")
"""


@pytest.mark.timeout(200)
def test_rq_survives_an_outage_of_redis(launch: Launch, tmp_path: Path) -> None:
    from redis import Redis
    from rq import Queue

    (tmp_path / "outage_app.py").write_text(APP)
    server, marks = OwnRedis(tmp_path), tmp_path / "marks"

    def enqueue(text: str) -> None:
        with Redis.from_url(server.url) as client:
            Queue("mail", connection=client).enqueue("outage_app.mark", str(marks), text)

    server.start()
    try:
        service = launch(f"""
            [pools.mail]
            backend = "rq"
            queue = "mail"
            workers = 2
            directory = "{tmp_path}"
            env = {{ PYTHONPATH = "{ROOT}:{tmp_path}" }}
            rq = {{ url = "{server.url}" }}
            python = "{sys.executable}"
            health.stall = "15s"
        """)
        enqueue("before")
        service.until(lambda: marks.exists() and marks.read_text() == "before\n")
        before = service.pids("mail")
        server.stop()
        service.until(lambda: service.lines("the queue cannot be read"))
        assert service.get("/livez").status == service.get("/readyz").status == 200
        assert service.pool("mail")["degraded"]
        server.start()
        service.until(lambda: service.lines("the queue can be read again"))
        for number in range(4):
            enqueue(str(number))
        service.until(lambda: sorted(marks.read_text().split()) == ["0", "1", "2", "3", "before"])
        # One that had not found back in time may have been recycled: then its successor is there before it goes.
        service.until(lambda: not service.pool("mail")["degraded"] and len(service.pids("mail")) == len(before) == 2)
        service.stop()
    finally:
        server.stop()
