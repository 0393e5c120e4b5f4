"""What workers wrote and write, over HTTP: in every form, of the living and the dead, followed or not."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from aiohttp import web

from chaperone_async.core.events import WorkerRef
from chaperone_async.core.spread import worker_id
from chaperone_async.service.http.logs import ROUTES
from chaperone_async.service.http.unread import CAPACITY, Unread
from chaperone_async.system.ports import OutputSink
from tests.core.world import World
from tests.service.canned import Canned, served, spec, up
from tests.service.reading import PATIENCE, Watched, connect, reading

POOL = "/api/v1/pools/emails"


@pytest.fixture
def emails() -> World:
    """Two workers; a third one, the first in slot 1, has crashed."""
    pool = up(spec(workers=2))
    pool.dies(pool.ref(1), code=3)
    pool.advance(5)
    pool.spawn_all()
    pool.advance(2)
    return pool


@pytest.fixture
def canned(emails: World) -> Canned:
    return Canned(emails, up(spec("sms")))


def name(canned: Canned, ref: WorkerRef) -> str:
    return worker_id(ref, canned.supervisor.runner(ref.pool).pool.salt)


async def until_followers(canned: Canned, count: int) -> None:
    with anyio.fail_after(PATIENCE):
        while len(canned.processes.followers) != count:
            await asyncio.sleep(0.002)


async def get(canned: Canned, directory: Path, path: str, accept: str = "*/*") -> tuple[int, Any]:
    async with served(canned.face(), directory) as where, where.session() as client:
        answer = await client.get(path, headers={"Accept": accept})
        text = await answer.text()
        return answer.status, json.loads(text) if "json" in answer.content_type else text


async def dies(canned: Canned, world: World, ref: WorkerRef) -> None:
    """As the runner would, were it running."""
    told = len(world.told)
    world.dies(ref, code=3)
    runner = canned.supervisor.runner(world.spec.name)
    runner.pool = world.pool
    for news in world.told[told:]:
        if news.death is not None:
            runner._bury(news.death)
    for condition, happened in runner._waiting:
        if condition(runner.pool):
            happened.set()


# Without following


async def test_a_pools_logs_have_the_workers_name_on_each_line(canned: Canned, emails: World, tmp_path: Path) -> None:
    first, second = emails.ref(0), emails.ref(1)
    canned.processes.write(first, "one", "two", "three")
    canned.processes.write(second, "eins")
    assert await get(canned, tmp_path, f"{POOL}/logs?lines=2") == (
        200,
        f"{name(canned, first)} | two\n{name(canned, first)} | three\n{name(canned, second)} | eins\n",
    )
    assert await get(canned, tmp_path, f"{POOL}/logs?lines=1", "application/json") == (
        200,
        {
            "lines": [
                {"worker": name(canned, first), "line": "three"},
                {"worker": name(canned, second), "line": "eins"},
            ]
        },
    )


async def test_a_pools_logs_begin_with_the_last_words_of_the_dead_in_each_slot(
    canned: Canned, emails: World, tmp_path: Path
) -> None:
    dead = canned.supervisor.journal.crashes("emails")[0].death
    canned.processes.write(dead.ref, "why", "this")
    canned.processes.write(emails.ref(1), "next")
    _, text = await get(canned, tmp_path, f"{POOL}/logs?lines=2")
    assert text == f"{dead.worker_id} | this\n{name(canned, emails.ref(1))} | next\n"


async def test_the_logs_of_all_pools_are_one(canned: Canned, emails: World, tmp_path: Path) -> None:
    canned.processes.write(emails.ref(0), "mail")
    canned.processes.write(WorkerRef("sms", 0, 1), "text")
    _, document = await get(canned, tmp_path, "/api/v1/logs", "application/json")
    assert [line["line"] for line in document["lines"]] == ["mail", "text"]
    status, problem = await get(Canned(), tmp_path, "/api/v1/logs")
    assert (status, problem["detail"]) == (404, "there are no pools, and so no workers that write")


async def dies_saying_alas(canned: Canned, emails: World) -> WorkerRef:
    ref = emails.ref(0)
    canned.processes.write(ref, "alas")
    await dies(canned, emails, ref)
    return ref


async def test_what_a_dead_worker_wrote_is_in_its_crash_record_when_it_is_nowhere_else(
    canned: Canned, emails: World, tmp_path: Path
) -> None:
    ref = await dies_saying_alas(canned, emails)
    del canned.processes.lines[ref]
    assert await get(canned, tmp_path, f"{POOL}/workers/{name(canned, ref)}/logs") == (200, "alas\n")


async def test_what_the_last_dead_worker_of_a_slot_wrote_is_there_without_a_record_of_its_death(
    canned: Canned, emails: World, tmp_path: Path
) -> None:
    ref = await dies_saying_alas(canned, emails)
    canned.supervisor.journal.forget("emails")
    for path in (f"{POOL}/workers/{name(canned, ref)}/logs", f"{POOL}/workers/0/logs"):
        assert await get(canned, tmp_path, path) == (200, "alas\n")
    assert await get(canned, tmp_path, f"{POOL}/logs") == (200, f"{name(canned, ref)} | alas\n")


# Following


async def test_a_worker_is_followed_from_its_last_lines_to_its_end(
    canned: Canned, emails: World, tmp_path: Path
) -> None:
    ref = emails.ref(0)
    canned.processes.write(ref, "one", "two")
    path = f"{POOL}/workers/{name(canned, ref)}/logs?follow=true&lines=1"
    async with served(canned.face(), tmp_path) as where, reading(where.port, path, accept="*/*") as stream:
        await until_followers(canned, 1)
        canned.processes.write(ref, "three")
        canned.processes.write(emails.ref(1), "another's")
        await dies(canned, emails, ref)
        assert await stream.whole() == "two\nthree\n"
        assert "Content-Type: text/plain" in stream.head
        await until_followers(canned, 0)


async def test_following_a_dead_worker_ends_after_its_last_line(canned: Canned, tmp_path: Path) -> None:
    death = canned.supervisor.journal.crashes("emails")[0].death
    canned.processes.write(death.ref, "last words")
    path = f"{POOL}/workers/{death.worker_id}/logs"
    async with served(canned.face(), tmp_path) as where:
        async with reading(where.port, f"{path}?follow=true", accept="*/*") as stream:
            assert await stream.whole() == "last words\n"
        async with reading(where.port, path) as stream:
            lines, end = await stream.rest()
    assert lines.data == {"lines": [{"worker": death.worker_id, "line": "last words"}]}
    assert (end.kind, end.data) == ("stream.ended", {"why": f"{death.worker_id} has ended"})


async def test_a_slot_is_followed_beyond_a_workers_death(canned: Canned, emails: World, tmp_path: Path) -> None:
    path = f"{POOL}/workers/0/logs?follow=true"
    first, second = emails.ref(0), WorkerRef("emails", 0, 99)
    async with served(canned.face(), tmp_path) as where, reading(where.port, path, accept="*/*") as stream:
        await until_followers(canned, 1)
        canned.processes.write(first, "bye")
        await dies(canned, emails, first)
        canned.processes.write(second, "hello")
        canned.processes.write(emails.ref(1), "from next door")
        canned.processes.write(second, "end")
        assert await stream.text("end\n") == "bye\nhello\nend\n"


async def test_a_pool_is_followed_with_workers_that_come_later_in_every_form(canned: Canned, tmp_path: Path) -> None:
    old, new = WorkerRef("emails", 0, 1), WorkerRef("emails", 5, 77)
    canned.processes.write(old, "old")
    first, later = name(canned, old), name(canned, new)
    path = f"{POOL}/logs?follow=true"
    async with (
        served(canned.face(), tmp_path) as where,
        reading(where.port, path, accept="*/*") as text,
        reading(where.port, path, accept="application/x-ndjson") as ndjson,
        reading(where.port, path) as events,
    ):
        await until_followers(canned, 3)
        canned.processes.write(new, "new\r", "caf\u00e9")
        canned.processes.write(WorkerRef("sms", 0, 1), "another pool's")
        assert await text.text("caf\u00e9\n") == f"{first} | old\n{later} | new\n{later} | caf\u00e9\n"
        documents = [json.loads(line) for line in (await ndjson.text('caf\u00e9"}\n')).splitlines()]
        assert documents == [
            {"worker": first, "line": "old"},
            {"worker": later, "line": "new"},
            {"worker": later, "line": "caf\u00e9"},
        ]
        seen = [line for event in await events.take(2) for line in event.data["lines"]]
        assert seen == documents


async def test_who_comes_back_gets_no_old_lines_again_and_is_told_what_is_missing(
    canned: Canned, emails: World, tmp_path: Path
) -> None:
    canned.processes.write(emails.ref(0), "old")
    async with served(canned.face(), tmp_path) as where:
        async with reading(where.port, f"{POOL}/logs") as stream:
            await stream.take(1)
        async with reading(where.port, f"{POOL}/logs", Last_Event_ID=stream.last_id) as stream:
            await until_followers(canned, 2)
            canned.processes.write(emails.ref(0), "new")
            gap, lines = await stream.take(2)
    assert gap.kind == "stream.gap"
    assert [line["line"] for line in lines.data["lines"]] == ["new"]


async def test_a_slow_follower_loses_lines_is_told_how_many_and_goes_on(
    canned: Canned, emails: World, tmp_path: Path
) -> None:
    ref, text = emails.ref(0), "x" * 99
    path = f"{POOL}/workers/0/logs?follow=true"
    async with served(canned.face(), tmp_path) as where:
        deaf = await connect(where.port, path, window=4096)
        await until_followers(canned, 1)
        _, sink = canned.processes.followers[0]
        for number in range(20_000):  # 2 MB
            sink(ref, f"{number:06} {text}\n".encode())
        seen = (await deaf.text("lost\n")).splitlines()
        *told, lost = seen
        assert [int(line[:6]) for line in told] == list(range(len(told)))
        assert lost == f"… {20_000 - len(told)} lines lost"
        sink(ref, b"and on\n")
        assert await deaf.text("and on\n") == "and on\n"
        deaf.kill()


async def test_a_follower_that_breaks_off_while_it_is_waited_for_is_no_error(
    canned: Canned, emails: World, tmp_path: Path
) -> None:
    watched = Watched(next(route for route in ROUTES if "{id}" in route.path))
    async with served(canned.face(), tmp_path, routes=[watched.watching]) as where:
        deaf = await connect(where.port, f"{POOL}/workers/0/logs?follow=true", window=4096)
        await until_followers(canned, 1)
        await watched.until_waiting(lambda: canned.processes.write(emails.ref(0), "x" * 9999))
        deaf.kill()
        await watched.until_answered()
    assert isinstance(watched.outcome, web.StreamResponse)
    assert not canned.processes.followers


async def test_a_slot_that_goes_before_it_can_be_followed_leaves_no_follower(
    canned: Canned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner, follow = canned.supervisor.runner("emails"), canned.processes.follow

    def vanish(pool: str | None, sink: OutputSink) -> Callable[[], None]:
        runner.pool = replace(runner.pool, desired=1, slots=runner.pool.slots.pop())
        return follow(pool, sink)

    monkeypatch.setattr(canned.processes, "follow", vanish)
    async with (
        served(canned.face(), tmp_path) as where,
        reading(where.port, f"{POOL}/workers/1/logs?follow=true", accept="*/*") as stream,
    ):
        await until_followers(canned, 1)
        canned.processes.write(WorkerRef("emails", 1, 99), "back again")
        assert await stream.text("\n") == "back again\n"
    await until_followers(canned, 0)


async def test_old_lines_that_cannot_be_read_leave_no_follower(
    canned: Canned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(ref: WorkerRef, lines: int) -> list[str]:
        raise RuntimeError("cannot be read")

    monkeypatch.setattr(canned.processes, "output", fail)
    watched = Watched(next(route for route in ROUTES if "{id}" in route.path))
    async with served(canned.face(), tmp_path, routes=[watched.watching]) as where:
        stream = await connect(where.port, f"{POOL}/workers/0/logs?follow=true")
        await watched.until_answered()
        stream.kill()
    assert isinstance(watched.outcome, RuntimeError)
    assert not canned.processes.followers


async def test_what_waits_for_a_follower_is_bounded() -> None:
    unread, ref, block = Unread(), WorkerRef("p", 0, 1), b"0123456\n" * 1000
    for _ in range(1000):
        unread.put(ref, block)
    unread.close()
    taken: list[bytes] = []
    while await unread.more():
        taken += [text for _, text in unread.take()]
    *kept, lost = taken
    assert CAPACITY - len(block) < len(b"".join(kept)) <= CAPACITY
    assert lost == f"… {(1000 - len(kept)) * 1000} lines lost\n".encode()


async def test_losses_are_told_in_their_place_when_half_is_free_again() -> None:
    unread, ref = Unread(), WorkerRef("p", 0, 1)
    block = b"x" * (CAPACITY // 8 - 1) + b"\n"
    for _ in range(10):
        unread.put(ref, block)
    for _ in range(3):
        unread.take()
    unread.put(ref, b"more\n")
    unread.close()
    rest: list[bytes] = []
    while await unread.more():
        rest += [text for _, text in unread.take()]
    assert [text for text in rest if text != block] == ["… 2 lines lost\n".encode(), b"more\n"]


async def test_at_the_servers_end_followers_get_the_rest_and_an_orderly_end(
    canned: Canned, emails: World, tmp_path: Path
) -> None:
    async with served(canned.face(), tmp_path) as where:
        stream = await connect(where.port, f"{POOL}/logs?follow=true")
        await until_followers(canned, 1)
        canned.processes.write(emails.ref(0), "last")
    assert await stream.whole() == f"{name(canned, emails.ref(0))} | last\n"
    assert not canned.processes.followers
    stream.kill()
