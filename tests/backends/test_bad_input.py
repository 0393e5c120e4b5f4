"""A queue that cannot be read takes nothing else along: the workers run, the probes pass, and the reason is told."""

import json
import time
from pathlib import Path

from redis import Redis

from tests.backends.test_sources import serving
from tests.e2e.service import Document, Launch, Service

SLEEP = json.dumps(["sleep", "1000"])


def pool(name: str, source: str, more: str = "") -> str:
    return (
        f"[pools.{name}]\ncommand = {SLEEP}\nworkers = {{ min = 2, max = 4 }}\nautoscale.cooldown = 0\n"
        f"backlog.source = {source}\nbacklog.interval = 0.2\nbacklog.timeout = 2\n{more}\n"
    )


def problem(service: Service, name: str) -> str:
    """Why it cannot be read; to be asked for again: at first that may be an attendant who has not started yet."""
    backlog: Document = service.pool(name)["backlog"] or {}
    return backlog.get("problem") or ""


def holds(service: Service, name: str) -> bool:
    """Nothing is known, so nothing is done, and it is no reason to be restarted."""
    document = service.pool(name)
    assert document["degraded"]
    assert document["backlog"]["ready"] is None
    assert len(service.pids(name)) == document["desired"]
    assert [service.get(probe).status for probe in ("/livez", "/readyz", "/startupz")] == [200, 200, 200]
    return True


def test_sources_that_tell_nothing_are_told_of_each_with_its_reason_and_workers_run_on(
    launch: Launch, redis_url: str, tmp_path: Path
) -> None:
    redis = Redis.from_url(redis_url)
    redis.set("text", "many")
    redis.acl_setuser("emails", enabled=True, passwords=["+right"])  # the server is other tests', too
    wrong_password = redis_url.replace("redis://", "redis://emails:hidden@")
    (tmp_path / "functions.py").write_text("def hang():\n    import threading\n    threading.Event().wait()\n")
    with serving(None) as silent:
        service = launch(
            pool("refused", '{ redis_list = "redis://127.0.0.1:1/0#emails" }')
            + pool("password", f'{{ redis_list = "{wrong_password}#emails" }}')
            + pool("type", f'{{ redis_list = "{redis_url}#text" }}')
            + pool("silent", f'{{ http = "http://127.0.0.1:{silent}/" }}')
            + pool("rows", f'{{ sql = "sqlite:///{tmp_path}/none.db", query = "select 1" }}')
            + pool("nonsense", '{ command = ["echo", "{pool} of {queue}"] }')
            + pool("hang", '{ python = "functions:hang" }', f'directory = "{tmp_path}"')
            + pool("good", '{ command = ["echo", "100"] }', "autoscale.target = 50")
        )
        expected = {
            "refused": "redis_list: Error 111 connecting to 127.0.0.1:1. Connection refused.",
            "password": "redis_list: invalid username-password pair or user is disabled.",
            "type": "redis_list: text is of another type, a string; name the kind of source that fits",
            "silent": f"http: 127.0.0.1:{silent}: no answer in time",
            "rows": "sql: unable to open database file",
            "nonsense": "command: 'nonsense' is not a number of jobs; 0 or more is wanted",
        }
        for name, why in expected.items():
            service.until(lambda name=name, why=why: problem(service, name) == why)  # type: ignore[misc]  # a value of the loop
        hangs = {"has not returned within 1.6 s", "hangs: its last 8 calls have not returned"}  # the latter after 13 s
        service.until(lambda: problem(service, "hang") in {f"python: functions:hang {why}" for why in hangs})
        assert service.until(lambda: service.pool("good")["backlog"]["ready"] == 100)
        for name in ("refused", "silent", "hang"):
            assert holds(service, name)
        assert "hidden" not in service.log()
        assert "Traceback" not in service.log()
        assert service.lines("refused", "the queue cannot be read: redis_list: Error 111")
    redis.acl_deluser("emails")
    redis.close()


def test_a_queue_that_comes_back_is_read_again_and_scaled_by(launch: Launch, redis_url: str) -> None:
    with Redis.from_url(redis_url) as redis:
        redis.set("emails", "not yet a list")
        service = launch(pool("a", f'{{ redis_list = "{redis_url}#emails" }}', "autoscale.target = 1"))
        service.until(lambda: "of another type" in problem(service, "a"))
        assert holds(service, "a")
        redis.delete("emails")
        redis.rpush("emails", *range(4))
        service.until(lambda: len(service.pids("a")) == 4)
        service.until(lambda: not service.pool("a")["degraded"])
        assert service.pool("a")["backlog"]["problem"] is None
        assert service.lines("the queue can be read again: 4 jobs ready")


def test_several_sources_are_added_up_and_one_that_is_unknown_makes_all_unknown(launch: Launch, redis_url: str) -> None:
    with Redis.from_url(redis_url) as redis:
        redis.rpush("high", *range(3))
        redis.rpush("low", *range(4))
        sources = f'[{{ redis_list = "{redis_url}#high" }}, {{ redis_list = "{redis_url}#low" }}]'
        service = launch(pool("sum", sources) + pool("most", sources, 'backlog.combine = "max"'))
        service.until(lambda: (b := service.pool("sum")["backlog"]) and b["ready"] == 7)
        service.until(lambda: (b := service.pool("most")["backlog"]) and b["ready"] == 4)
        redis.delete("low")
        redis.set("low", "text")
        service.until(lambda: "low is of another type" in problem(service, "sum"))
        assert service.pool("sum")["backlog"]["ready"] is None


def test_a_program_that_hangs_does_not_outlive_a_supervisor_however_that_ends(launch: Launch, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    hangs = json.dumps(["sh", "-c", f"echo $$ >> {begun}; sleep 1000"])
    service = launch(pool("a", f"{{ command = {hangs} }}").replace("timeout = 2", "timeout = 100"))
    service.until_path(begun)
    assert any("sleep 1000" in line for line in service.left().values())
    service._process.kill()  # type: ignore[union-attr]  # it has been started
    service.wait()
    deadline = time.monotonic() + 30
    while service.left():
        assert time.monotonic() < deadline, service.left()
        time.sleep(0.01)


def test_an_interpreter_that_cannot_be_asked_is_told_of(launch: Launch, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho 'No module named chaperone_async' >&2\nexit 1\n")
    broken.chmod(0o755)
    rest = 'backend = "rq"\nbacklog.interval = 0.2\nworkers = 0\n'
    service = launch(
        f'[pools.a]\npython = "{broken}"\n{rest}[pools.b]\npython = "/nowhere/python"\n{rest}', probe="/livez"
    )
    service.until(lambda: problem(service, "a") == "its attendant has died: No module named chaperone_async")
    service.until(lambda: problem(service, "b") == "cannot run '/nowhere/python': no such file; correct the path")
