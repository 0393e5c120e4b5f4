"""Attendants, as real processes: they answer, they hang, they die, and nobody waits for them longer than he wants."""

import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from chaperone_async.core.spec import Launch
from chaperone_async.errors import QueueError, QueueUnavailable
from chaperone_async.system.attendants import Attendants, Call
from chaperone_async.system.sweep import Family

MODULE = """
import os, sys, threading, time
from chaperone_async.attendant import Unavailable

class Attendant:
    def __init__(self, settings):
        self.settings = settings

    def backlog(self, queues):
        return {"ready": len(queues), "settings": self.settings}

    def echo(self, value):
        return value

    def pid(self):
        return os.getpid()

    def hang(self):
        threading.Event().wait()

    def nap(self, long):
        time.sleep(long)
        return os.getpid()

    def fail(self):
        raise ValueError("first line\\nsecond line")

    def away(self):
        raise Unavailable("cannot reach the server")

    def exit(self):
        print("last words", file=sys.stderr, flush=True)
        os._exit(3)

    def big(self, size):
        return "x" * size

def attend(settings):
    if "hangs" in settings:
        threading.Event().wait()
    if "fails" in settings:
        with open(settings["fails"], "a") as tries:
            tries.write("x")
        time.sleep(0.3)
        raise Unavailable("it cannot be imported")
    return Attendant(settings)
"""


class Office:
    def __init__(self, attendants: Attendants, directory: Path) -> None:
        self.attendants = attendants
        self.launch = Launch(directory=str(directory))

    async def ask(
        self, name: str, seconds: float = 30.0, settings: str = "{}", user: object = None, **arguments: Any
    ) -> Any:
        call = Call("deputy", settings, name, arguments)
        return await self.attendants.call(self.launch, None, call, timeout=seconds, user=user)


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    (tmp_path / "deputy.py").write_text(MODULE)
    family = Family()
    async with Attendants(family) as attendants:
        yield Office(attendants, tmp_path)
    assert not family._pids, "an attendant is left"


async def test_one_process_answers_call_after_call(office: Office) -> None:
    assert await office.ask("backlog", queues=["a", "b"]) == {"ready": 2, "settings": {}}
    assert await office.ask("backlog", settings='{"url": "x"}', queues=[]) == {"ready": 0, "settings": {"url": "x"}}
    assert await office.ask("pid") == await office.ask("pid")


async def test_a_failure_is_told_in_one_line_and_the_next_call_is_answered(office: Office) -> None:
    with pytest.raises(QueueError, match=r"^ValueError: first line second line$"):
        await office.ask("fail")
    with pytest.raises(QueueUnavailable, match=r"^cannot reach the server$"):
        await office.ask("away")
    assert await office.ask("backlog", queues=[]) == {"ready": 0, "settings": {}}


async def test_a_call_that_hangs_is_given_up_and_holds_up_no_other(office: Office) -> None:
    await office.ask("pid")
    with pytest.raises(QueueUnavailable, match=r"no answer within 0\.1 s"):
        await office.ask("hang", 0.1)
    assert await office.ask("backlog", queues=["a"]) == {"ready": 1, "settings": {}}


async def test_an_application_whose_import_hangs_holds_up_no_other(office: Office) -> None:
    first = await office.ask("pid")
    with pytest.raises(QueueUnavailable, match=r"no answer within 0\.1 s"):
        await office.ask("pid", 0.1, '{"hangs": true}')
    assert await office.ask("pid", 2.0) == first, "it has been opened before"
    assert await office.ask("pid", settings='{"new": true}') == first


async def test_what_cannot_be_imported_is_not_tried_for_each_call(office: Office, tmp_path: Path) -> None:
    tries = tmp_path / "tries"

    async def ask() -> None:
        with pytest.raises(QueueUnavailable, match="it cannot be imported"):
            await office.ask("pid", settings=json.dumps({"fails": str(tries)}))

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(ask)
    assert len(tries.read_text()) <= 3
    await anyio.sleep(1.5)
    before = len(tries.read_text())
    await ask()
    assert len(tries.read_text()) == before + 1


async def test_one_that_has_never_answered_for_long_is_replaced(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await office.ask("pid")
    await miss_many(office, first)
    os.kill(first, signal.SIGCONT)
    assert await until_answered(office) == first, "it has been silent for no time yet"
    monkeypatch.setattr("chaperone_async.system.attendants._SILENT", 0.0)
    await miss_many(office, first)
    assert await until_answered(office) != first


async def miss_many(office: Office, pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)
    for _ in range(8):
        with pytest.raises(QueueUnavailable):
            await office.ask("pid", 0.05)


async def test_one_that_dies_says_why_and_comes_again(office: Office) -> None:
    first = await office.ask("pid")
    with pytest.raises(QueueUnavailable, match="its attendant has died: last words"):
        await office.ask("exit")
    assert await until_answered(office) != first


async def until_answered(office: Office) -> int:
    with anyio.fail_after(60):
        while True:
            try:
                return int(await office.ask("pid"))
            except QueueUnavailable:
                await anyio.sleep(0.05)


async def test_one_that_nobody_needs_is_let_go(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chaperone_async.system.attendants._IDLE", 0.2)
    first = await office.ask("pid")
    with anyio.fail_after(60):
        while Path(f"/proc/{first}").exists():
            await anyio.sleep(0.05)
    assert await until_answered(office) != first


class User:
    """Who asks."""


async def test_one_whose_user_exists_is_kept_with_what_it_remembers(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chaperone_async.system.attendants._IDLE", 0.05)
    user = User()
    first = await office.ask("pid", user=user)
    await anyio.sleep(0.5)
    assert await office.ask("pid") == first
    del user
    with anyio.fail_after(60):
        while Path(f"/proc/{first}").exists():
            await anyio.sleep(0.05)


async def test_a_call_may_take_longer_than_one_that_nobody_asks_is_kept(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chaperone_async.system.attendants._IDLE", 0.1)
    assert isinstance(await office.ask("nap", long=0.5), int)


async def test_who_asks_one_that_has_just_died_is_told_its_last_words(office: Office) -> None:
    await office.ask("pid")
    attendant = office.attendants._processes[office.launch, sys.executable]
    connection = attendant._connection
    assert connection is not None
    with pytest.raises(QueueUnavailable, match="last words"):
        await office.ask("exit")
    with pytest.raises(QueueUnavailable, match="last words"):
        await connection.ask(Call("deputy", "{}", "pid", {}))


async def test_without_a_descriptor_to_be_had_the_queue_is_out_of_reach(office: Office) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, before[1]))
    try:
        with pytest.raises(QueueUnavailable, match="cannot start its attendant: Too many open files"):
            await office.ask("pid")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_numbers_of_any_size_go_there_and_back(office: Office) -> None:
    assert (await office.ask("echo", value=[2**70, float("inf"), "a\ud83d"]))[:2] == [2**70, float("inf")]


async def test_many_calls_at_once_are_all_answered(office: Office) -> None:
    answers: list[int] = []

    async def ask(many: int) -> None:
        answers.append((await office.ask("backlog", queues=["q"] * many))["ready"])

    async with anyio.create_task_group() as tasks:
        for many in range(100):
            tasks.start_soon(ask, many)
    assert sorted(answers) == list(range(100))


async def test_an_answer_beyond_all_bounds_ends_the_attendant_not_us(office: Office) -> None:
    with pytest.raises(QueueUnavailable):
        await office.ask("big", size=17 << 20)
    assert await until_answered(office)


@pytest.mark.parametrize(
    ("launch", "python", "why"),
    [
        (Launch(directory="/no/such/place"), None, "no such directory"),
        (Launch(user="nobody-there"), None, "no such user"),
        (Launch(), "/no/such/python", "no such file"),
        (Launch(), "/bin/false", "its attendant has died"),
    ],
)
async def test_one_that_cannot_be_started_says_why(
    office: Office, launch: Launch, python: str | None, why: str
) -> None:
    with pytest.raises(QueueUnavailable, match=why):
        await office.attendants.call(launch, python, Call("deputy", "{}", "pid", {}), timeout=30)


async def test_a_module_that_is_not_there_is_a_failure_of_the_call(office: Office) -> None:
    with pytest.raises(QueueError, match="No module named 'nowhere'"):
        await office.attendants.call(office.launch, None, Call("nowhere", "{}", "pid", {}), timeout=30)
