"""The huey backend's two halves without any worker: what it plans and refuses, and what its attendant can tell."""

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from chaperone_async.attendant import Refused, Unavailable
from chaperone_async.attendant.huey import attend
from chaperone_async.core.spec import JobOptions
from chaperone_async.errors import ConfigError
from chaperone_async.system.backends.huey import Huey, HueyTable, InstancePath
from chaperone_async.system.backends.protocol import Asked, Unsuited
from chaperone_async.system.config.load import load
from chaperone_async.system.config.words import Text

APP = InstancePath("proj.huey")

PLAIN = """
from huey import RedisHuey, SqliteHuey, MemoryHuey

huey = {huey}

@huey.task()
def work():
    pass
"""


def attended(directory: Path, monkeypatch: pytest.MonkeyPatch, name: str, huey: str) -> Any:
    (directory / f"{name}.py").write_text(PLAIN.format(huey=huey))
    monkeypatch.syspath_prepend(directory)
    return attend({"app": f"{name}.huey"})


def test_of_any_storage_the_counts_can_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, redis_url: str) -> None:
    makers = {
        "of_sqlite": f"SqliteHuey('plain', filename={str(tmp_path / 'plain.db')!r})",
        "of_redis": f"RedisHuey('plain', url={redis_url!r})",
    }
    for name, huey in makers.items():
        attendant = attended(tmp_path, monkeypatch, name, huey)
        module = sys.modules[name]
        module.work()
        later = module.work.s()
        later.eta = datetime.now(UTC).replace(tzinfo=None) + timedelta(hours=1)
        module.huey.add_schedule(later)
        told = attendant.backlog(queues=["plain"])
        assert 3500 < told.pop("next_due") <= 3600
        assert told == {"ready": 1, "delayed": 1}
        assert attendant.reclaim(worker={"id": "w", "jobs": []}) == 0
        with pytest.raises(Unavailable, match="keeps no list of failed jobs; use chaperone_async"):
            attendant.failed(queue="plain", limit=10, after=None)
        with pytest.raises(Unavailable, match="the instance is the queue 'plain', not 'jobs'; write its name as queue"):
            attendant.backlog(queues=["jobs"])
        module.huey.storage.close()


@pytest.mark.parametrize(
    ("name", "huey", "why"),
    [
        ("of_nobody", "RedisHuey('plain', url='redis://127.0.0.1:1/0')", "cannot read RedisStorage: ConnectionError: "),
        ("of_memory", "MemoryHuey('plain')", "MemoryStorage keeps jobs in the memory of the worker"),
        ("of_error", "1 / 0", "cannot load of_error.huey: ZeroDivisionError: division by zero"),
    ],
)
def test_a_backlog_that_cannot_be_read_is_unknown_and_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, huey: str, why: str
) -> None:
    with pytest.raises(Unavailable) as refusal:
        attended(tmp_path, monkeypatch, name, huey).backlog(queues=["plain"])
    assert str(refusal.value).startswith(why)


def test_an_attendant_of_what_is_no_huey_says_so() -> None:
    with pytest.raises(Refused, match="it is a module, not a Huey; name the instance, such as"):
        attend({"app": "os.path"})


@pytest.mark.parametrize(
    ("changes", "key", "why"),
    [
        ({"options": HueyTable()}, "huey.app", "is missing; write where the Huey instance is"),
        ({"queues": ("a", "b")}, "queue", "2 are too many: a Huey instance has one; write a pool for each"),
        ({"job": JobOptions(tries=3)}, "job.tries", "each task has its own; remove it, and write @huey"),
        ({"job": JobOptions(backoff=(1.0,))}, "job.backoff", "write @huey.task(retry_delay=5, retry_backoff=2)"),
        ({"job": JobOptions(max_exceptions=3)}, "job.max_exceptions", "write @huey.task(retries=2)"),
        ({"job": JobOptions(sleep=0.0)}, "job.sleep", "0 would ask the queue without a pause"),
        ({"options": HueyTable(app=APP, options=(Text("-gINT"),))}, "huey.options", "cannot have '-gINT'"),
    ],
)
def test_what_huey_cannot_honour_is_refused_with_the_reason(changes: dict[str, Any], key: str, why: str) -> None:
    asked = {"pool": "p", "queues": ("q",), "options": HueyTable(app=APP), "python": "python", **changes}
    with pytest.raises(Unsuited) as refusal:
        Huey().plan(Asked(**asked))
    assert refusal.value.key == key
    assert why in refusal.value.why


def test_a_job_time_out_is_left_to_the_supervisor_and_polling_told_to_huey() -> None:
    options = HueyTable(app=APP)
    job = JobOptions(timeout=5, sleep=0.5)
    plan = Huey().plan(Asked(pool="p", queues=("q",), options=options, python="python", job=job))
    assert plan.honours == {"sleep"}
    assert plan.command[-2:] == ("--delay=0.5", "--max-delay=0.5")


def test_an_idle_worker_looks_each_second_unless_its_options_say_otherwise() -> None:
    options = HueyTable(app=APP, options=(Text("--max-delay=5"),))
    plan = Huey().plan(Asked(pool="p", queues=("q",), options=options, python="python"))
    assert plan.command[-2:] == ("--max-delay=1", "--max-delay=5")


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ('{ app = "proj:huey" }', "huey.app: 'proj:huey' does not say where a Huey instance is; write module.name"),
        ('{ app = "a.b", worker_type = "fork" }', "huey.worker_type: 'fork' is not known here; valid are greenlet,"),
        (
            '{ app = "a.b", worker_type = "greenlet" }',
            "backend: 'huey' needs the package gevent, which is not installed",
        ),
    ],
)
def test_what_is_wrong_in_its_table_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str, problem: str
) -> None:
    monkeypatch.setitem(sys.modules, "gevent", None)
    file = tmp_path / "chaperone.toml"
    file.write_text(f'[pools.p]\nbackend = "huey"\nhuey = {table}\n')
    with pytest.raises(ConfigError) as refusal:
        load(file, {})
    (told,) = refusal.value.problems
    assert f"pools.p.{problem}" in told
    assert "chaperone-async[huey]" not in told
