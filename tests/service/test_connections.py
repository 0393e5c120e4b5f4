"""Clients that are slow, silent, many, or gone: the probes are answered all the same, and the end comes in time."""

import asyncio
import resource
import select
import socket
import time
from pathlib import Path

import anyio
import pytest
from aiohttp import web

from chaperone_async.service.http.app import make_app
from chaperone_async.service.http.connection import Bounds, Connection, Crowd
from chaperone_async.service.http.listen import bind
from chaperone_async.service.http.server import serve
from tests.service.canned import Canned, served, spec, up

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
def canned() -> Canned:
    return Canned(up(spec()))


async def connect(port: int, count: int, sends: bytes) -> list[Stream]:
    streams = [await asyncio.open_connection("127.0.0.1", port) for _ in range(count)]
    for _, writer in streams:
        writer.write(sends)
    return streams


async def until_cut_off(reader: asyncio.StreamReader) -> bytes:
    """What still came. Whether the end is a FIN or an RST depends on what the server had not read."""
    try:
        with anyio.fail_after(60):
            return await reader.read()
    except ConnectionResetError:
        return b""


async def hang_up(streams: list[Stream]) -> None:
    for _, writer in streams:
        writer.close()
    for _, writer in streams:
        try:
            await writer.wait_closed()
        except ConnectionError:
            continue  # cut off by the server


async def test_300_clients_that_never_finish_their_request_do_not_delay_livez(canned: Canned, tmp_path: Path) -> None:
    async with served(canned.face(), tmp_path) as where:
        slow = await connect(where.port, 300, b"GET /livez HTTP/1.1\r\nHost:")
        async with where.session() as client:
            began = time.monotonic()
            for _ in range(20):
                assert (await client.get("/livez", headers={"Connection": "close"})).status == 200
            assert time.monotonic() - began < 8
        await hang_up(slow)


async def test_the_600th_client_is_still_answered_for_the_oldest_goes(canned: Canned, tmp_path: Path) -> None:
    async with served(canned.face(), tmp_path) as where:
        slow = await connect(where.port, 600, b"GET /")
        async with where.session() as client:
            assert (await client.get("/livez")).status == 200
        assert await until_cut_off(slow[0][0]) == b""
        assert not slow[-1][0].at_eof()
        await hang_up(slow)


async def test_many_clients_raise_the_limit_of_open_files_before_it_is_reached(canned: Canned, tmp_path: Path) -> None:
    before, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with served(canned.face(), tmp_path) as where:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (160, hard))
            clients = await connect(where.port, 40, b"GET /")
            async with where.session() as client:
                assert (await client.get("/livez")).status == 200
            assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 320
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (before, hard))
        await hang_up(clients)


async def test_a_client_that_sends_no_request_in_time_is_cut_off(canned: Canned, tmp_path: Path) -> None:
    async with served(canned.face(), tmp_path, Bounds(first_request=0.05)) as where:
        ((reader, writer),) = await connect(where.port, 1, b"GET /livez HTTP/1.1\r\n")
        assert await until_cut_off(reader) == b""
        await hang_up([(reader, writer)])


async def test_a_client_that_asks_no_further_question_is_cut_off(canned: Canned, tmp_path: Path) -> None:
    async with served(canned.face(), tmp_path, Bounds(next_request=0.05)) as where:
        ((reader, writer),) = await connect(where.port, 1, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\nok")).startswith(b"HTTP/1.1 200 OK")
        assert await until_cut_off(reader) == b""
        await hang_up([(reader, writer)])


async def test_a_client_that_does_not_take_its_answer_is_cut_off(canned: Canned, tmp_path: Path) -> None:
    canned.add(up(spec("many", workers=2000)))
    async with served(canned.face(), tmp_path, Bounds(next_request=0.2)) as where:
        with socket.socket(socket.AF_UNIX) as deaf:
            deaf.connect(str(where.unix))
            deaf.sendall(b"GET /api/v1/pools HTTP/1.1\r\nHost: x\r\n\r\n")
            gone = select.poll()
            gone.register(deaf, select.POLLHUP)
            assert await anyio.to_thread.run_sync(gone.poll, 5000)


async def test_one_connection_serves_many_requests(canned: Canned, tmp_path: Path) -> None:
    async with served(canned.face(), tmp_path) as where:
        one = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
        last = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        answer = await where.raw(one * 3 + last)
    assert answer.count(b"HTTP/1.1 200 OK") == 4


async def test_the_end_does_not_wait_for_clients(canned: Canned, tmp_path: Path) -> None:
    async with served(canned.face(), tmp_path) as where:
        waiting = await connect(where.port, 20, b"GET /livez HTTP/1.1\r\n")
        idle = await connect(where.port, 20, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        for reader, _ in idle:
            await reader.readuntil(b"\r\n\r\nok")
        began = time.monotonic()
    assert time.monotonic() - began < 8
    assert not where.unix.exists()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", where.port))
    await hang_up(waiting + idle)


async def test_a_request_from_before_the_server_is_answered(canned: Canned, tmp_path: Path) -> None:
    listeners = bind([f"unix:{tmp_path}/s.sock"])
    reader, writer = await asyncio.open_unix_connection(f"{tmp_path}/s.sock")
    writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve, canned.face(), listeners)
        assert (await reader.read()).endswith(b"\r\n\r\nok")
        tasks.cancel_scope.cancel()
    await hang_up([(reader, writer)])


async def test_whoever_works_stays_and_whoever_waits_goes(canned: Canned) -> None:
    runner = web.AppRunner(make_app(canned.face()))
    await runner.setup()
    assert runner.server is not None
    crowd = Crowd(Bounds(connections=3))
    first, second, third, fourth, fifth = (
        Connection(runner.server, crowd, asyncio.get_running_loop()) for _ in range(5)
    )
    for each in (first, second, third):
        crowd.enter(each)
    first.busy = True
    crowd.refresh(second)
    crowd.enter(fourth)
    assert list(crowd) == [first, second, fourth]
    second.busy = fourth.busy = True
    crowd.enter(fifth)
    assert list(crowd) == [second, fourth, fifth]
    await runner.cleanup()
