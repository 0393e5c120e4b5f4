"""A Celery application from outside: who sends its jobs, and sees what has become of them."""

import json
from pathlib import Path
from typing import Any

from tests.e2e.service import Document, Service

APPS = Path(__file__).parent / "apps"
QUEUE = "jobs"
LATE: dict[str, Any] = {"task_acks_late": True, "task_reject_on_worker_lost": True}


class Shop:
    """Who sends jobs, and sees what has become of them."""

    def __init__(self, url: str, out: Path) -> None:
        from celery import Celery  # it takes its time, which tests of other libraries need not give

        out.mkdir()
        self.url, self.out = url, out
        self.app = Celery("jobs", broker=url, set_as_current=False)

    def close(self) -> None:
        from kombu import pools

        self.app.close()
        pools.reset()

    def send(self, name: str, *args: Any, **kwargs: Any) -> str:
        return str(self.app.send_task(name, args, kwargs, queue=QUEUE).id)

    def lines(self, file: str) -> list[str]:
        path = self.out / file
        return path.read_text().split() if path.exists() else []

    @property
    def done(self) -> list[int]:
        return sorted(map(int, self.lines("done")))

    def say(self, file: str) -> None:
        (self.out / file).touch()

    def pool(self, more: str = "", *, broker: str = "", **conf: Any) -> str:
        env = {"BROKER": broker or self.url, "OUT": str(self.out), "CONF": json.dumps(conf)}
        return f"""
            [pools.jobs]
            backend = "celery"
            celery.app = "celery_app"
            queue = "{QUEUE}"
            directory = {json.dumps(str(APPS))}
            env = {{ {", ".join(f"{name} = {json.dumps(value)}" for name, value in env.items())} }}
            backlog.interval = "0.3s"
            {more}
        """


def backlog(service: Service) -> Document:
    return service.pool("jobs")["backlog"] or {}


def failed(service: Service) -> list[Document]:
    found: list[Document] = service.get(f"/api/v1/queues/{QUEUE}/failed").json["failed"]
    return found
