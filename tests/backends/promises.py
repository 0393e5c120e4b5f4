"""What every asynchronous queue library's backend promises, as tests to be inherited."""

import json
import os
import signal
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping
from http.client import HTTPResponse
from pathlib import Path

from chaperone_async.core.expand import expand
from chaperone_async.system.config.load import load
from tests.backends.adapters import ADAPTERS
from tests.backends.apps.work import done
from tests.backends.hearing import hearing
from tests.backends.lossless import Outcome, prepared, url_of
from tests.backends.servers import Run
from tests.e2e.service import PATIENCE, ROOT, Connection, Document, Launch, Service, until

QUEUE = "mails"
JOBS = int(os.environ.get("NO_JOB_LOST", "60"))
Counts = Mapping[str, int | None]


class Shop(ABC):
    """An application, and what it takes to run a pool for it and to look into its queue as the library itself does."""

    backend: str
    options: str = ""
    beats = True

    def __init__(self, server: str, place: Path) -> None:
        self.server, self.place = server, place

    @abstractmethod
    def send(self, job: str, what: str, *, delay: float | None = None) -> None: ...

    @abstractmethod
    def counts(self) -> Counts:
        """As the library itself tells them."""

    @property
    def env(self) -> dict[str, str]:
        return {"TEST_SERVER": self.server}

    def pool(self, more: str = "") -> str:
        env = "".join(f"env.{name} = {json.dumps(value)}\n" for name, value in self.env.items())
        table = f'[pools.jobs]\nbackend = "{self.backend}"\nqueue = "{QUEUE}"\nhealth.memory_limit = 0\n'
        return f"{table}restart.start_seconds = 0\n{env}{self.options}\n{more}\n"

    def until_done(self, service: Service, *what: str) -> None:
        service.until(lambda: set(what) <= set(done(self.place)))

    def allow(self, what: str) -> None:
        (self.place / what).touch()


def worker_of(service: Service) -> Document:
    return service.workers("jobs")[0]


def post(service: Service, path: str) -> Document:
    connection = Connection(service.socket)
    try:
        connection.request("POST", f"/api/v1{path}")
        response: HTTPResponse = connection.getresponse()
        body: Document = json.loads(response.read())
    finally:
        connection.close()
    assert response.status == 200, body
    return body


def backlog_of(service: Service, *names: str) -> Counts:
    """Nothing, before it was read for the first time."""
    backlog = service.pool("jobs")["backlog"] or {}
    return {name: backlog[name] for name in names if name in backlog}


def lossless(kind: str, run: Run, place: Path, kills: int = 2) -> Outcome:
    adapter = ADAPTERS[kind]
    trial = prepared(adapter, place, url_of(adapter, run), workers=2)
    with trial.service.start().until_up():
        outcome = trial.run(JOBS, kills=kills)
    assert not trial.service.lines("cannot put back"), trial.service.log()
    return outcome


class Promises:
    """With a fixture `shop`."""

    def test_a_pool_by_its_backend_alone_does_jobs_and_tells_of_them(self, launch: Launch, shop: Shop) -> None:
        service = launch(shop.pool(), probe="/readyz")
        for n in range(5):  # one after the other: what a worker tells at a time has to fit into the supervisor's socket
            shop.send("work", str(n))
            service.until(lambda n=n: worker_of(service)["jobs_processed"] == n + 1)  # type: ignore[misc]  # a value of the loop
        shop.send("fail", "peace")
        service.until(lambda: worker_of(service)["jobs_failed"] == 1)
        shop.send("hold", "gate")
        shop.until_done(service, "gate-began", "4")
        held = service.until(lambda: (w := worker_of(service))["activity"] == "busy" and w)
        assert (held["jobs_processed"], held["jobs_failed"], held["current_job_name"]) == (5, 1, "hold")
        for n in range(3):
            shop.send("work", f"waits-{n}")
        service.until(lambda: backlog_of(service, *shop.counts()) == shop.counts())

        failed = service.until(lambda: service.get(f"/api/v1/queues/{QUEUE}/failed").json["failed"])
        assert [(job["name"], job["queue"]) for job in failed] == [("fail", QUEUE)]
        assert "peace" in failed[0]["arguments"]
        shop.allow("peace")
        assert post(service, f"/queues/{QUEUE}/failed/retry")["retried"] == 1
        shop.allow("gate")
        shop.until_done(service, "gate-ended", "waits-2", "peace")
        service.until(lambda: (w := worker_of(service))["activity"] == "idle" and w["jobs_processed"] == 10)
        service.until(lambda: backlog_of(service, "ready", "failed") == {"ready": 0, "failed": 0})

    def test_a_worker_that_is_stopped_finishes_its_job_and_an_idle_one_ends_soon(
        self, launch: Launch, shop: Shop
    ) -> None:
        service = launch(shop.pool("workers = 2\nmin_ready = 2"), probe="/readyz")
        shop.send("hold", "gate")
        shop.until_done(service, "gate-began")
        service.send(signal.SIGTERM)
        service.until(lambda: service.lines(" ended (stop)"))
        assert done(shop.place) == ["gate-began"]
        shop.allow("gate")
        assert service.wait() == 0
        assert done(shop.place) == ["gate-began", "gate-ended"]
        assert not service.lines("reclaimed") + service.lines("put back")

    def test_a_worker_says_once_that_it_is_ready_and_goes_on_giving_signs_of_life(self, shop: Shop) -> None:
        (shop.place / "chaperone.toml").write_text(shop.pool())
        (spec,) = load(shop.place / "chaperone.toml", {}).pools
        with hearing() as heard:
            own = {"NOTIFY_SOCKET": str(heard.path), "PYTHONPATH": str(ROOT), **dict(spec.launch.env)}
            command = [expand(word, {"worker_id": "w-1", "queue": QUEUE, "sleep": "1"}) for word in spec.command]
            worker = subprocess.Popen(command, env={**os.environ, **own}, cwd=shop.place)
            until(lambda: heard.count("READY"))
            if shop.beats:
                until(lambda: heard.count("WATCHDOG") > 2)
            worker.terminate()
            assert worker.wait(PATIENCE) == 0
        assert heard.count("READY") == 1


class SafePromises:
    """Of those that keep a job until it is done. With a fixture `shop`."""

    def test_the_job_of_a_killed_worker_is_done_by_the_next(self, launch: Launch, shop: Shop) -> None:
        service = launch(shop.pool(), probe="/readyz")
        shop.send("hold", "gate")
        shop.send("work", "waiting")
        shop.until_done(service, "gate-began")
        os.kill(worker_of(service)["pid"], signal.SIGKILL)
        service.until(lambda: done(shop.place).count("gate-began") == 2)
        shop.allow("gate")
        shop.until_done(service, "gate-ended", "waiting")
        assert len(service.crashes("jobs")) == 1
        assert not service.lines("cannot put back")
