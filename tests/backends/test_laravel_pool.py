"""Pools of Laravel's workers: real PHP processes and a real Redis. The framework itself is not here: `apps/artisan`
stands in for it, with the same command line, keys, signals and exit codes."""

import json
import signal
import sqlite3
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
from redis import Redis

from chaperone_async.attendant import Unavailable
from chaperone_async.attendant.laravel import Laravel, _age, attend
from chaperone_async.core.spec import JobOptions, RecyclePolicy
from chaperone_async.system.backends.laravel import Laravel as Backend
from chaperone_async.system.backends.laravel import LaravelTable
from chaperone_async.system.backends.protocol import Asked, Plan, Unsuited
from chaperone_async.system.config import words
from tests.backends.asked import attending
from tests.e2e.service import Launch, Service, alive

ARTISAN = Path(__file__).parent / "apps" / "artisan"
PREFIX = "laravel-database-"


class Application:
    def __init__(self, url: str, place: Path) -> None:
        self.url, self.notes_file, self.gate = url, place / "notes", str(place / "gate")
        self.redis = Redis.from_url(url)

    def key(self, queue: str, part: str = "") -> str:
        return f"{PREFIX}queues:{queue}{part}"

    def send(self, mark: str, *, queue: str = "default", due: float | None = None, **data: Any) -> str:
        made = int(time.time()) - 100
        job = {"uuid": str(uuid.uuid4()), "displayName": "App\\Jobs\\Send", "attempts": 0, "createdAt": made}
        payload = json.dumps({**job, "data": {"mark": mark, **data}})
        if due is None:
            self.redis.rpush(self.key(queue), payload)
        else:
            self.redis.zadd(self.key(queue, ":delayed"), {payload: due})
        return str(job["uuid"])

    def pool(self, more: str = "") -> str:
        return f"""
            [pools.jobs]
            backend = "laravel"
            queue = ["high", "default"]
            env = {{ REDIS_URL = "{self.url}", NOTES = "{self.notes_file}" }}
            job = {{ timeout = 1000, tries = 2, backoff = [0] }}
            laravel = {{ artisan = "{ARTISAN}", redis = "{self.url}", prefix = "{PREFIX}" }}
            {more}
        """

    def open_gate(self) -> None:
        Path(self.gate).touch()

    def notes(self) -> list[str]:
        return self.notes_file.read_text().splitlines() if self.notes_file.exists() else []

    def until_noted(self, service: Service, *notes: str) -> None:
        service.until(lambda: set(notes) <= set(self.notes()))

    def attendant(self, **depth: str) -> Laravel:
        return attend({"php": "php", "artisan": str(ARTISAN), "connection": "redis", **depth})


@pytest.fixture
def app(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Application:
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("NOTES", str(tmp_path / "notes"))
    return Application(redis_url, tmp_path)


def test_a_pool_by_its_backend_does_jobs_in_order_of_its_queues_and_tells_its_backlog(
    launch: Launch, app: Application
) -> None:
    for number in range(3):
        app.send(f"low-{number}")
    app.send("urgent", queue="high")
    app.send("flaky", fail=1)
    app.send("broken", fail=9)
    app.send("tomorrow", due=time.time() + 90_000)
    service = launch(app.pool(), probe="/readyz")
    app.until_noted(service, "done low-2", "done flaky", "failed broken")
    worker = service.workers("jobs")[0]["id"]
    assert app.notes()[:3] == [f"started {worker}", "begun urgent", "done urgent"]
    app.send("long", hold=app.gate)
    app.until_noted(service, "begun long")
    app.send("next")
    backlog = service.until(lambda: (b := service.pool("jobs")["backlog"]) and b["reserved"] == b["ready"] == 1 and b)
    assert backlog["delayed"] == 1
    assert 89_000 < backlog["next_due"] <= 90_000
    assert 100 <= backlog["oldest_age"] < 200
    app.open_gate()


def test_a_worker_that_is_stopped_finishes_its_job(launch: Launch, app: Application) -> None:
    service = launch(app.pool(), probe="/readyz")
    app.send("slow", hold=app.gate)
    app.until_noted(service, "begun slow")
    service.send(signal.SIGTERM)
    service.until(lambda: service.lines("is stopping (stop)"))
    app.open_gate()
    assert service.wait() == 0
    assert app.notes()[-1] == "done slow"


def test_a_pause_lets_the_job_in_work_end_and_takes_no_other(launch: Launch, app: Application) -> None:
    service = launch(app.pool(), probe="/readyz")
    (pid,) = service.pids("jobs")
    app.send("first", hold=app.gate)
    app.send("second")
    app.until_noted(service, "begun first")
    assert service.cli("pause", "jobs", "--wait").code == 0
    app.open_gate()
    app.until_noted(service, "done first")
    status = Path(f"/proc/{pid}/status").read_text()
    assert "T (stopped)" not in status, "it is not frozen: it has paused itself"
    assert "begun second" not in app.notes()
    assert service.cli("resume", "jobs", "--wait").code == 0
    app.until_noted(service, "done second")
    assert service.pids("jobs") == [pid]


def test_a_job_that_takes_too_long_is_ended_by_laravel_itself(launch: Launch, app: Application) -> None:
    service = launch(app.pool().replace("timeout = 1000", "timeout = 1"), probe="/readyz")
    (pid,) = service.pids("jobs")
    app.send("endless", hold=app.gate)
    app.until_noted(service, "begun endless")
    service.until(lambda: not alive(pid))
    service.until(lambda: service.pids("jobs") not in ([], [pid]))
    assert app.redis.zcard(app.key("default", ":reserved")) == 1, "it comes back after retry_after"


@pytest.mark.parametrize("version", ["12", "13"])
def test_failed_jobs_are_listed_retried_and_thrown_away_through_artisan(
    app: Application, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setenv("LARAVEL", version)
    now = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
    for number in range(5):
        queue = "high" if number == 4 else "default"
        job = {"id": f"id-{number}", "connection": "redis", "queue": queue, "class": "App\\Jobs\\Send"}
        app.redis.lpush(f"{PREFIX}failed", told({**job, "failed_at": now, "payload": {"data": {}}}))
    attendant = app.attendant()

    def ids(page: dict[str, Any]) -> list[str]:
        return [job["id"] for job in page["jobs"]]

    page = attendant.failed("default", 3, None)
    assert (ids(page), page["next"]) == (["id-3", "id-2", "id-1"], "id-1")
    last = attendant.failed("default", 3, page["next"])
    assert (ids(last), last["next"]) == (["id-0"], None)
    assert page["jobs"][0]["name"] == "App\\Jobs\\Send"
    assert abs(page["jobs"][0]["failed_at"] - time.time()) < 60
    assert attendant.retry("default", ["id-1", "id-4", "none"]) == 1
    assert app.redis.llen(app.key("default")) == 1
    assert attendant.flush("default", ["id-2"]) == 1
    assert attendant.flush("default", None) == 2
    assert ids(attendant.failed("default", 9, None)) == []
    assert ids(attendant.failed("high", 9, None)) == ["id-4"]


def test_what_fails_in_another_queue_meanwhile_is_not_thrown_away(
    app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(number: int, queue: str) -> None:
        job = {"id": f"id-{number}", "connection": "redis", "queue": queue, "class": "Send", "payload": {}}
        app.redis.lpush(f"{PREFIX}failed", told({**job, "failed_at": "2026-11-22 10:00:00"}))

    attendant = app.attendant()
    call = attendant._artisan.call

    def call_late(*words: str, **limit: float) -> str:
        if words[0] in {"queue:flush", "queue:forget"}:
            fail(9, "high")
        return call(*words, **limit)

    for number in range(2):
        fail(number, "default")
    monkeypatch.setattr(attendant._artisan, "call", call_late)
    assert attendant.flush("default", None) == 2
    assert attendant.failed("high", 9, None)["jobs"]


@pytest.mark.parametrize(
    ("job", "age"),
    [
        ({"createdAt": 900}, 100.0),
        ({"createdAt": 900, "attempts": 0, "delay": 60}, 40.0),
        ({"createdAt": 900, "attempts": 1}, None),
        ({"createdAt": "yesterday"}, None),
        ({}, None),
    ],
)
def test_a_delay_is_no_waiting(job: dict[str, Any], age: float | None) -> None:
    assert _age(json.dumps(job).encode(), 1000.0) == age


def test_the_depth_is_the_same_from_redis_and_from_artisan(app: Application) -> None:
    for queue in ("high", "default", "default"):
        app.send("waiting", queue=queue)
    app.send("later", due=time.time() + 1000)
    read = app.attendant(redis=app.url, prefix=PREFIX).backlog
    asked = app.attendant().backlog
    counts = {"ready": 3, "delayed": 1, "reserved": 0}
    for found in (read(["high", "default"]), asked(["high", "default"])):
        assert {name: found[name] for name in counts} == counts
        assert 100 <= (found["oldest_age"] or 0) < 200
    app.send("due", due=time.time() - 1)
    assert read(["default"])["ready"] == 3, "a worker takes it now"
    app.redis.set(app.key("other"), "text")
    with pytest.raises(Unavailable, match="queues:other is of another type, a string"):
        read(["other"])


def test_the_depth_is_read_from_the_table_of_jobs(tmp_path: Path, postgres_url: str) -> None:
    now = int(time.time())
    rows: Sequence[tuple[str, int | None, int]] = [
        ("high", None, now - 50), ("default", None, now - 5), ("default", now, now - 9), ("default", None, now + 500),
        ("other", None, now - 99),
    ]  # fmt: skip
    table = "create table jobs (queue text, reserved_at int, available_at int)"
    with sqlite3.connect(tmp_path / "app.sqlite") as sqlite:
        sqlite.execute(table)
        sqlite.executemany("insert into jobs values (?, ?, ?)", rows)
    sqlite.close()
    with psycopg.connect(postgres_url) as postgres, postgres.cursor() as cursor:
        cursor.execute(table)
        cursor.executemany("insert into jobs values (%s, %s, %s)", rows)
    base = {"php": "php", "artisan": "artisan", "connection": "database", "table": "jobs"}
    settings = [{**base, "database": address} for address in (f"sqlite:///{tmp_path}/app.sqlite", postgres_url)]
    with attending(tmp_path) as asked:
        for answer in asked.ask(settings, module="laravel", queues=["high", "default"]):
            found = answer["value"]
            assert [found[name] for name in ("ready", "delayed", "reserved")] == [2, 1, 1]
            assert 50 <= found["oldest_age"] < 110
            assert 440 < found["next_due"] <= 500
        for answer in asked.ask(settings, module="laravel", queues=["none"]):
            assert (answer["value"]["ready"], answer["value"]["oldest_age"]) == (0, None)


def told(document: dict[str, Any]) -> str:
    """As PHP writes it."""
    return json.dumps(document, separators=(",", ":"))


def plan(options: dict[str, Any], **asked: Any) -> Plan:
    table = LaravelTable(**{"artisan": words.Text("/app/artisan"), **options})
    return Backend().plan(Asked(pool="jobs", queues=("a", "b"), options=table, python="python", **asked))


def test_the_command_line_has_every_option_that_laravel_takes() -> None:
    job = JobOptions(timeout=60.0, tries=3, backoff=(1.0, 5.0), sleep=2.0)
    made = plan({"options": (words.Text("--force"),)}, job=job, recycle=RecyclePolicy(max_jobs=500))
    assert " ".join(made.command) == (
        "php /app/artisan queue:work redis --queue={queue} --name={worker_id} --memory=1000000 "
        "--timeout=60 --tries=3 --sleep=2 --backoff=1,5 --max-jobs=500 --force"
    )
    assert made.honours == {"timeout", "tries", "backoff", "sleep", "max_jobs"}
    assert (made.stop_signal, made.then, made.pause_signal) == ("SIGTERM", (), "SIGUSR2")


@pytest.mark.parametrize(
    ("options", "asked", "key", "why"),
    [
        ({"artisan": None}, {}, "laravel.artisan", "is missing; write one such as"),
        ({}, {"job": JobOptions(max_exceptions=3)}, "job.max_exceptions", "cannot be honoured: Laravel is told of it"),
        ({}, {"job": JobOptions(timeout=1.5)}, "job.timeout", "cannot be honoured: Laravel knows whole seconds alone"),
        ({"options": (words.Text("--tries=3"),)}, {}, "laravel.options", "cannot have '--tries=3': write job.tries"),
        ({"redis": words.Text("redis://h")}, {}, "laravel.prefix", "is missing: with another prefix every queue"),
        ({"redis": words.Text("redis://h"), "database": words.SqlUrl("mysql://h/a")}, {}, "laravel.database", "goes w"),
    ],
)  # fmt: skip
def test_what_laravel_cannot_do_is_refused(options: dict[str, Any], asked: dict[str, Any], key: str, why: str) -> None:
    with pytest.raises(Unsuited) as refused:
        plan(options, **asked)
    assert (refused.value.key, refused.value.why[: len(why)]) == (key, why)


def test_artisan_s_own_trouble_is_told(app: Application, tmp_path: Path) -> None:
    broken = attend({"php": "php", "artisan": str(tmp_path / "none"), "connection": "redis"})
    with pytest.raises(Unavailable, match="php has ended with exit code 1"):
        broken.backlog(["default"])
    missing = attend({"php": str(tmp_path / "php"), "artisan": str(ARTISAN), "connection": "redis"})
    with pytest.raises(Unavailable, match=f"cannot run {tmp_path}/php: No such file or directory"):
        missing.failed("default", 9, None)


def test_an_artisan_that_cannot_tell_is_not_asked_all_the_time(tmp_path: Path) -> None:
    starts, php = tmp_path / "starts", tmp_path / "php"
    php.write_text(f"#!/bin/sh\necho >> {starts}\nexit 1\n")
    php.chmod(0o755)
    broken = attend({"php": str(php), "artisan": str(ARTISAN), "connection": "redis"})
    for _ in range(2):
        with pytest.raises(Unavailable, match="has ended with exit code 1"):
            broken.backlog(["default"])
    assert starts.read_text() == "\n"
