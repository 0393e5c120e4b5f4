"""The journal as a document, and as a stream: what a client gets, whatever it and the supervisor go through."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import anyio
import pytest
from aiohttp import web

from chaperone_async.core.actions import Announce
from chaperone_async.service.http.app import make_app
from chaperone_async.service.http.connection import Bounds
from chaperone_async.service.http.events import BEHIND, ROUTES
from chaperone_async.service.http.streams import STREAMS, Pace, Streams
from chaperone_async.supervision.journal import Journal
from tests.service.canned import Canned, served, spec, up
from tests.service.reading import PATIENCE, Reader, Watched, connect, reading

EVENTS = "/api/v1/events"
PATIENT = Pace(goodbye=PATIENCE)


@pytest.fixture
def canned() -> Canned:
    return Canned(up(spec("emails")), up(spec("sms")))


def tell(canned: Canned, count: int = 1, kind: str = "pool.ready", pool: str | None = "emails") -> None:
    for _ in range(count):
        canned.supervisor.journal.add(pool, Announce(kind, anyio.current_time(), detail="1 of 1 workers ready"))


async def get(canned: Canned, directory: Path, query: str = "") -> tuple[int, Any]:
    async with served(canned.face(), directory) as where, where.session() as client:
        answer = await client.get(f"{EVENTS}{query}")
        return answer.status, json.loads(await answer.text())


def numbers(document: Any) -> list[int]:
    return [event["seq"] for event in document["events"]]


async def until_readers(canned: Canned, count: int) -> None:
    with anyio.fail_after(PATIENCE):
        while canned.supervisor.journal.readers != count:
            await asyncio.sleep(0.002)


@asynccontextmanager
async def paced(canned: Canned, pace: Pace) -> AsyncIterator[tuple[int, web.AppRunner]]:
    """A server with other times, and its port."""
    app = make_app(canned.face(), loopback_only=True)
    app[STREAMS] = Streams(pace)
    runner = web.AppRunner(app, handler_cancellation=False, shutdown_timeout=1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield int(runner.addresses[0][1]), runner
    finally:
        await runner.cleanup()


# The document


async def test_the_newest_events_come_first_with_the_words_of_the_log(canned: Canned, tmp_path: Path) -> None:
    tell(canned, 150)
    status, document = await get(canned, tmp_path)
    assert status == 200
    assert numbers(document) == list(range(150, 50, -1))
    assert (document["last"], document["epoch"]) == (150, "000000")
    newest = document["events"][0]
    assert (newest["event"], newest["level"], newest["message"]) == (
        "pool.ready",
        "info",
        "ready: 1 of 1 workers ready",
    )
    assert (newest["pool"], newest["detail"], newest["worker"]) == ("emails", "1 of 1 workers ready", None)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("limit=2", [4, 3]),
        ("pool=sms", [2]),
        ("kind=pool.fatal", [3]),
        ("kind=pool.fatal,pool.paused", [4, 3]),
        ("kind=pool.ready&pool=emails", [1]),
        ("since=2", [4, 3]),
        ("since=0", [4, 3, 2, 1]),
        ("since=4", []),
        ("since=99", []),
        ("since=1h", [4, 3, 2, 1]),
        ("since=1d&limit=1", [4]),
    ],
)
async def test_events_can_be_chosen(canned: Canned, tmp_path: Path, query: str, expected: list[int]) -> None:
    tell(canned)
    tell(canned, pool="sms")
    tell(canned, kind="pool.fatal")
    tell(canned, kind="pool.paused")
    status, document = await get(canned, tmp_path, f"?{query}")
    assert (status, numbers(document)) == (200, expected)


async def test_a_time_of_day_chooses_what_came_after_it(canned: Canned, tmp_path: Path) -> None:
    journal, now = canned.supervisor.journal, anyio.current_time()
    for age in (300, 200, 100):
        journal.add("emails", Announce("pool.paused", now - age, detail="mode drain", by="me"))
    moment = (datetime.now(UTC) - timedelta(seconds=250)).isoformat()
    assert numbers((await get(canned, tmp_path, f"?since={quote(moment)}"))[1]) == [3, 2]
    assert numbers((await get(canned, tmp_path, "?since=150s"))[1]) == [3]


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("kind=pool.redy", "there is no such event; did you mean 'pool.ready'"),
        ("since=yesterday", "write the number of an event, an age such as 10m, or a time such as 2026-11-23T10:00:00Z"),
        ("since=2026-11-23T10:00:00", "or a time such as 2026-11-23T10:00:00Z"),
        ("since=-5", "it is neither a number nor a time"),
        ("last_event_id=17&follow=true", "it is not the id of an event, such as 000000-17"),
        ("last_event_id=x-17&follow=true", "it is not the id of an event"),
        ("follow=perhaps", "follow"),
    ],
)
async def test_what_cannot_be_understood_is_refused_with_advice(
    canned: Canned, tmp_path: Path, query: str, told: str
) -> None:
    status, problem = await get(canned, tmp_path, f"?{query}")
    assert status == 400
    assert told in problem["detail"]


async def test_an_unknown_pool_is_not_found_but_one_that_was_is(canned: Canned, tmp_path: Path) -> None:
    tell(canned, pool="gone")
    assert (await get(canned, tmp_path, "?pool=never"))[0] == 404
    assert numbers((await get(canned, tmp_path, "?pool=gone"))[1]) == [1]


# The stream


async def test_a_stream_tells_what_happens_from_now_on(canned: Canned, tmp_path: Path) -> None:
    tell(canned, 3)
    async with served(canned.face(), tmp_path) as where, reading(where.port, EVENTS) as stream:
        await until_readers(canned, 1)
        tell(canned, kind="pool.paused")
        (event,) = await stream.take(1)
    assert (event.kind, event.id) == ("pool.paused", "000000-4")
    assert (event.data["seq"], event.data["event"], event.data["level"]) == (4, "pool.paused", "info")
    assert "200 OK" in stream.head
    assert "Content-Type: text/event-stream" in stream.head
    assert "X-Accel-Buffering: no" in stream.head


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("follow=true&limit=2", [3, 4]),
        ("since=1", [2, 3, 4]),
        ("since=1h", [1, 2, 3, 4]),
        ("since=1h&limit=1", [4]),
        ("pool=sms&limit=9", [2]),
    ],
)
async def test_a_stream_may_begin_with_what_was_before(
    canned: Canned, tmp_path: Path, query: str, expected: list[int]
) -> None:
    tell(canned)
    tell(canned, pool="sms")
    tell(canned, 2)
    async with served(canned.face(), tmp_path) as where, reading(where.port, f"{EVENTS}?{query}") as stream:
        assert [event.data["seq"] for event in await stream.take(len(expected))] == expected
        tell(canned, pool="sms")
        assert (await stream.take(1))[0].data["seq"] == 5


async def test_a_client_that_comes_back_gets_what_came_meanwhile_once_and_in_order(
    canned: Canned, tmp_path: Path
) -> None:
    async with served(canned.face(), tmp_path) as where:
        async with reading(where.port, EVENTS) as stream:
            await until_readers(canned, 1)
            tell(canned, 10)
            seen = await stream.take(4)  # and killed with the others on their way
        tell(canned, 10)
        again = await connect(
            where.port, f"{EVENTS}?limit=50", Last_Event_ID=stream.last_id, Accept="text/event-stream"
        )
        seen += await again.take(16)
        tell(canned)
        seen += await again.take(1)
        again.kill()
    assert [event.data["seq"] for event in seen] == list(range(1, 22))


async def test_a_client_that_was_told_nothing_yet_misses_nothing_when_it_comes_back(
    canned: Canned, tmp_path: Path
) -> None:
    tell(canned, 3)
    async with served(canned.face(), tmp_path) as where:
        async with reading(where.port, f"{EVENTS}?kind=pool.fatal") as stream:
            assert await stream.text("\n\n") == "retry: 2000\nid: 000000-3\n\n"
        tell(canned, kind="pool.fatal")
        async with reading(where.port, f"{EVENTS}?kind=pool.fatal&last_event_id=000000-3") as stream:
            assert (await stream.take(1))[0].data["seq"] == 4


async def test_a_client_that_breaks_off_while_it_is_waited_for_is_no_error(canned: Canned, tmp_path: Path) -> None:
    watched = Watched(*ROUTES)
    async with served(canned.face(), tmp_path, routes=[watched.watching]) as where:
        deaf = await connect(where.port, EVENTS, window=4096, Accept="text/event-stream")
        await until_readers(canned, 1)
        await watched.until_waiting(lambda: tell(canned, 10))
        deaf.kill()
        await watched.until_answered()
    assert isinstance(watched.outcome, web.StreamResponse)


async def test_what_is_no_longer_known_is_a_gap_that_says_how_much(canned: Canned, tmp_path: Path) -> None:
    canned.supervisor.journal = Journal(kept=3)
    tell(canned, 10)
    async with (
        served(canned.face(), tmp_path) as where,
        reading(where.port, EVENTS, Last_Event_ID="000000-2") as stream,
    ):
        gap, *events = await stream.take(4)
    assert (gap.kind, gap.id) == ("stream.gap", "000000-7")
    assert gap.data == {"why": "5 events are no longer known", "missed": 5}
    assert [event.data["seq"] for event in events] == [8, 9, 10]


async def test_what_goes_while_a_client_is_told_of_a_gap_is_in_the_gap(canned: Canned, tmp_path: Path) -> None:
    canned.supervisor.journal = Journal(kept=3)
    tell(canned, 10)

    async def go_on() -> None:
        while True:
            tell(canned)
            await asyncio.sleep(0)

    async with (
        served(canned.face(), tmp_path) as where,
        reading(where.port, EVENTS, Last_Event_ID="000000-2") as stream,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(go_on)
        told = await stream.take(40)
        tasks.cancel_scope.cancel()
    known = 2
    for event in told:
        number = int(event.id.removeprefix("000000-"))
        assert number == known + (event.data["missed"] if event.kind == "stream.gap" else 1)
        known = number


async def test_the_number_of_another_supervisor_life_is_a_gap_and_then_all_there_is(
    canned: Canned, tmp_path: Path
) -> None:
    canned.supervisor.journal = Journal(epoch="b2b2b2")
    tell(canned, 2)
    async with (
        served(canned.face(), tmp_path) as where,
        reading(where.port, EVENTS, Last_Event_ID="a1a1a1-777") as stream,
    ):
        gap, *events = await stream.take(3)
    assert (gap.kind, gap.data) == (
        "stream.gap",
        {"why": "the supervisor has been restarted since", "missed": None},
    )
    assert [event.id for event in events] == ["b2b2b2-1", "b2b2b2-2"]


async def test_100_clients_get_everything_though_10_of_them_do_not_read(canned: Canned) -> None:
    journal = canned.supervisor.journal
    async with paced(canned, PATIENT) as (port, _):
        readers = [await connect(port, EVENTS, Accept="text/event-stream") for _ in range(90)]
        window = 4096
        deaf = [await connect(port, EVENTS, window=window, Accept="text/event-stream") for _ in range(10)]
        await until_readers(canned, 100)
        seen: dict[int, list[int]] = {index: [] for index in range(90)}

        async def read(index: int, stream: Reader) -> None:
            while not seen[index] or seen[index][-1] < journal.last or journal.readers > 90:
                seen[index].append((await stream.next()).data["seq"])

        rounds = 0
        async with anyio.create_task_group() as tasks:
            for index, stream in enumerate(readers):
                tasks.start_soon(read, index, stream)
            while journal.readers > 90:  # supervision goes on at its own pace, and as long as it takes
                assert rounds < 200
                tell(canned, 50)
                rounds += 1
                while min(map(len, seen.values())) < journal.last - BEHIND // 2:
                    await asyncio.sleep(0)
                await asyncio.sleep(0)
            tell(canned)
        assert all(numbers == list(range(1, journal.last + 1)) for numbers in seen.values())
        for stream in deaf:  # now they look what they have got
            *told, last = await stream.rest()
            assert [event.data["seq"] for event in told] == list(range(1, len(told) + 1))
            assert len(told) < journal.last - BEHIND
            assert last.kind == "stream.dropped"
            assert stream.last_id == told[-1].id
        assert journal.readers == 90
        for stream in (*readers, *deaf):
            stream.kill()


async def test_who_was_dropped_comes_back_without_a_loss(canned: Canned) -> None:
    async with paced(canned, PATIENT) as (port, _):
        deaf = await connect(port, EVENTS, window=4096, Accept="text/event-stream")
        await until_readers(canned, 1)
        while canned.supervisor.journal.readers:
            tell(canned, 20)
            await asyncio.sleep(0)
        *told, _ = await deaf.rest()
        async with reading(port, EVENTS, Last_Event_ID=deaf.last_id) as stream:
            last = canned.supervisor.journal.last
            seen = [event.data["seq"] for event in (*told, *await stream.take(last - len(told)))]
        assert seen == list(range(1, last + 1))
        deaf.kill()


async def test_a_client_that_is_cut_off_and_still_does_not_read_is_gone_soon(canned: Canned) -> None:
    async with paced(canned, Pace(goodbye=0.01)) as (port, runner):
        deaf = await connect(port, EVENTS, window=4096, Accept="text/event-stream")
        await until_readers(canned, 1)
        while canned.supervisor.journal.readers:
            tell(canned, 20)
            await asyncio.sleep(0)
        assert runner.server is not None
        with anyio.fail_after(PATIENCE):
            while runner.server.connections:
                await asyncio.sleep(0.002)
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await deaf.rest()
        deaf.kill()


async def test_silence_is_broken_by_heartbeats_that_keep_the_place(canned: Canned) -> None:
    async with paced(canned, Pace(heartbeat=0.01)) as (port, _), reading(port, f"{EVENTS}?kind=pool.fatal") as stream:
        await until_readers(canned, 1)
        tell(canned, 7)
        await stream.text(": heartbeat\nid: 000000-7\n\n")
        tell(canned, kind="pool.fatal")
        assert (await stream.take(1))[0].id == "000000-8"


async def test_a_client_that_left_is_noticed_though_nothing_happens(canned: Canned) -> None:
    async with paced(canned, Pace(heartbeat=0.01)) as (port, _):
        async with reading(port, EVENTS):
            await until_readers(canned, 1)
        await until_readers(canned, 0)


async def test_a_stream_outlives_the_time_limits_of_idle_connections(canned: Canned, tmp_path: Path) -> None:
    async with (
        served(canned.face(), tmp_path, Bounds(first_request=1.0, next_request=0.05)) as where,
        reading(where.port, EVENTS) as stream,
    ):
        idle, writer = await asyncio.open_connection("127.0.0.1", where.port)
        assert await idle.read() == b""  # cut off
        writer.close()
        tell(canned)
        assert (await stream.take(1))[0].data["seq"] == 1


async def test_a_stream_stays_when_the_house_is_full(canned: Canned, tmp_path: Path) -> None:
    async with served(canned.face(), tmp_path, Bounds(connections=3)) as where, reading(where.port, EVENTS) as stream:
        others = [await asyncio.open_connection("127.0.0.1", where.port) for _ in range(5)]
        assert await others[0][0].read() == b""  # cut off
        tell(canned)
        assert (await stream.take(1))[0].data["seq"] == 1
        for _, writer in others:
            writer.close()


async def test_at_the_servers_end_a_stream_tells_the_last_and_ends_in_order(canned: Canned, tmp_path: Path) -> None:
    async with served(canned.face(), tmp_path) as where:
        stream = await connect(where.port, EVENTS, Accept="text/event-stream")
        await until_readers(canned, 1)
        tell(canned, kind="pool.stopped")
    assert [event.kind for event in await stream.rest()] == ["pool.stopped"]
    assert canned.supervisor.journal.readers == 0
    stream.kill()


async def test_a_deaf_client_does_not_hold_up_the_servers_end(canned: Canned, tmp_path: Path) -> None:
    async with served(canned.face(), tmp_path) as where:
        deaf = await connect(where.port, EVENTS, window=4096, Accept="text/event-stream")
        await until_readers(canned, 1)
        tell(canned, BEHIND)
        began = anyio.current_time()
    assert anyio.current_time() - began < 20  # its bounds are 1.6 s
    deaf.kill()


async def test_a_head_of_a_stream_is_answered_at_once(canned: Canned, tmp_path: Path) -> None:
    async with served(canned.face(), tmp_path) as where, where.session() as client:
        answer = await client.head(f"{EVENTS}?follow=true")
        assert (answer.status, await answer.read()) == (200, b"")
        assert answer.content_type == "text/event-stream"
