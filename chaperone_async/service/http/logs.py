"""What workers wrote, and write: of one worker, of a slot whoever works in it, of a pool, or of all.

A follower that reads more slowly than its workers write loses lines, and is told how many: no worker waits for it.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated

import anyio
import orjson
from aiohttp import web
from msgspec import Meta, Struct

from chaperone_async.service import wire
from chaperone_async.service.http import written
from chaperone_async.service.http.answers import FACE, MOST, json_response, wants_json
from chaperone_async.service.http.inputs import read_query
from chaperone_async.service.http.problems import Refused
from chaperone_async.service.http.route import Route
from chaperone_async.service.http.streams import EVENT_STREAM, STREAMS, Stream, accepts, event, stream
from chaperone_async.service.http.unread import Block, Unread
from chaperone_async.service.http.workers import find_slot, unknown_worker
from chaperone_async.service.http.written import Line, Source
from chaperone_async.supervision.supervisor import Supervisor

NDJSON = "application/x-ndjson"
PLAIN = "text/plain; charset=utf-8"
PIECE = 500
"""Old lines that are sent at a time."""

Encode = Callable[[Sequence[Line]], bytes]


class LogsQuery(Struct, frozen=True):
    lines: Annotated[int, Meta(ge=1, le=MOST, description="at most so many of each worker, the last")] = 100
    follow: Annotated[bool, Meta(description="and then what is written from now on")] = False


async def show_worker_logs(request: web.Request) -> web.StreamResponse:
    """By the worker's id, or by its slot's number."""
    supervisor, word = request.app[FACE].supervisor, request.match_info["id"]
    runner = supervisor.runner(request.match_info["pool"])
    slot = find_slot(supervisor.view(runner), word)
    if slot is not None and slot.last_id != word:
        return await _answer(request, written.of_slot(supervisor, runner, slot.index))
    if slot is not None and slot.life is not None:
        return await _answer(request, written.of_life(runner, slot.life.ref))
    records = supervisor.journal.crashes(runner.pool.name)
    record = next((record for record in records if record.death.worker_id == word), None)
    if record is not None:
        return await _answer(request, written.of_dead(runner, record.death, record.output))
    death = next((death for death in runner.last_deaths.values() if death.worker_id == word), None)
    if death is None:  # neither recorded nor the last one in its slot
        raise unknown_worker(request)
    return await _answer(request, written.of_dead(runner, death))


async def show_pool_logs(request: web.Request) -> web.StreamResponse:
    supervisor = request.app[FACE].supervisor
    return await _answer(request, written.of_pool(supervisor, supervisor.runner(request.match_info["pool"])))


async def show_all_logs(request: web.Request) -> web.StreamResponse:
    supervisor = request.app[FACE].supervisor
    runners = [supervisor.runner(name) for name in supervisor.names]
    if not runners:
        raise Refused(404, "there are no pools, and so no workers that write")
    return await _answer(request, written.of_all(supervisor, runners))


async def _answer(request: web.Request, source: Source) -> web.StreamResponse:
    query = read_query(request, LogsQuery)
    text = _named_text if source.named else _text
    if accepts(request, EVENT_STREAM):
        return await stream(request, EVENT_STREAM, partial(_follow_as_events, request, source, query.lines))
    if query.follow:
        as_json = wants_json(request) or accepts(request, NDJSON)
        media_type, encode = (NDJSON, _ndjson) if as_json else (PLAIN, text)
        return await stream(request, media_type, partial(_follow, request, source, query.lines, encode))
    lines = source.kept(query.lines)
    if wants_json(request):
        return json_response({"lines": _documents(lines) if source.named else [line for _, line in lines]})
    return web.Response(body=text(lines), headers={"Content-Type": PLAIN})


async def _follow_as_events(request: web.Request, source: Source, lines: int, client: Stream) -> None:
    """A client that comes back to the same supervisor life has had the old lines."""
    epoch = request.app[FACE].supervisor.journal.epoch
    await client.send(f"id: {epoch}\n\n".encode())
    if request.headers.get("Last-Event-ID") == epoch:
        lines = 0
        await client.send(event("stream.gap", {"why": "what was written meanwhile is left out", "missed": None}))
    why = await _follow(request, source, lines, _event, client, _heartbeat)
    if why is not None:
        await client.send(event("stream.ended", {"why": why}))


async def _follow(
    request: web.Request, source: Source, lines: int, encode: Encode, client: Stream,
    beat: Callable[[], bytes] = bytes,
) -> str | None:  # fmt: skip
    """Why no more can come; None: the server ends, or the client has gone."""
    supervisor, unread, reasons = request.app[FACE].supervisor, Unread(), list[str | None]()
    lost: ExceptionGroup[ConnectionError] | None = None

    async def close_when_over() -> None:
        reasons.append(await source.over())
        unread.close()

    undo = source.processes.follow(
        source.pool, lambda ref, block: unread.put(ref, block) if source.wants(ref) else None
    )
    try:
        old = source.kept(lines) if lines else []  # nothing lies between these and what follows: nobody has waited
        async with anyio.create_task_group() as tasks:
            with request.app[STREAMS].ending(unread.close):
                tasks.start_soon(close_when_over)
                await _send_all(supervisor, unread, old, encode, client, beat)
            tasks.cancel_scope.cancel()
    except* ConnectionError as gone:
        lost = gone  # raised in here, the first releases of Python 3.11 would wrap it in a group once more
    finally:
        undo()
    if lost is not None:
        raise ConnectionResetError("the client has gone") from lost
    return reasons[0] if reasons else None


async def _send_all(
    supervisor: Supervisor, unread: Unread, old: Sequence[Line], encode: Encode, client: Stream,
    beat: Callable[[], bytes],
) -> None:  # fmt: skip
    for first in range(0, len(old), PIECE):
        await client.send(encode(old[first : first + PIECE]))
    while await client.wait(unread.more, beat):
        await client.send(encode([line for block in unread.take() for line in _split(supervisor, block)]))


def _split(supervisor: Supervisor, block: Block) -> list[Line]:
    ref, text = block
    name = None if ref is None else written.find_name(supervisor, ref)
    return [(name, line.removesuffix("\r")) for line in text.decode(errors="replace").split("\n")[:-1]]


# The forms


def _text(lines: Sequence[Line]) -> bytes:
    return "".join([f"{line}\n" for _, line in lines]).encode()


def _named_text(lines: Sequence[Line]) -> bytes:
    return "".join([f"{name} | {line}\n" if name else f"{line}\n" for name, line in lines]).encode()


def _documents(lines: Sequence[Line]) -> list[wire.WorkerLine]:
    return [{"worker": name, "line": line} for name, line in lines]


def _ndjson(lines: Sequence[Line]) -> bytes:
    return b"".join([orjson.dumps(line) + b"\n" for line in _documents(lines)])


def _event(lines: Sequence[Line]) -> bytes:
    return event(None, {"lines": _documents(lines)})


def _heartbeat() -> bytes:
    return b": heartbeat\n\n"


FORMS = ("text/plain", NDJSON, EVENT_STREAM)
ROUTES = (
    Route(
        method="GET", path="/api/v1/logs", handler=show_all_logs, access="read",
        summary="The last lines that all workers wrote", query=LogsQuery, problems=(404,),
        answers={200: (*FORMS, wire.WorkerLinesDocument)},
    ),
    Route(
        method="GET", path="/api/v1/pools/{pool}/logs", handler=show_pool_logs, access="read",
        summary="The last lines that the workers of a pool wrote", query=LogsQuery,
        answers={200: (*FORMS, wire.WorkerLinesDocument)},
    ),
    Route(
        method="GET", path="/api/v1/pools/{pool}/workers/{id}/logs", handler=show_worker_logs, access="read",
        summary="The last lines that a worker wrote, oldest first", query=LogsQuery,
        answers={200: (*FORMS, wire.LinesDocument)},
    ),
)  # fmt: skip
