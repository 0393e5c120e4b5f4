"""What has happened: the newest entries of the journal as a document, or as server-sent events while they happen.

An event's id is `<epoch>-<seq>`. A client that comes back with the last one it got (`Last-Event-ID`) gets what came
after it, once and in order; and first an event `stream.gap` where something of that is no longer known. One that reads
too slowly is told so with `stream.dropped`, and cut off: it may come back in the same way.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache, partial
from typing import Annotated

import anyio
from aiohttp import web
from msgspec import Meta, Struct

from chaperone_async.errors import UnknownPool
from chaperone_async.service import wire
from chaperone_async.service.http.answers import FACE, MOST, json_response
from chaperone_async.service.http.face import Face
from chaperone_async.service.http.inputs import read_query
from chaperone_async.service.http.problems import Refused
from chaperone_async.service.http.route import Route
from chaperone_async.service.http.streams import EVENT_STREAM, STREAMS, Stream, accepts, event, stream
from chaperone_async.service.record_views import view_entry
from chaperone_async.service.sentences import SENTENCES
from chaperone_async.service.views import Views
from chaperone_async.supervision.journal import Entry, Journal, Subscription
from chaperone_async.system.config.problems import advise
from chaperone_async.system.config.units import to_seconds

SHOWN = 100
BEHIND = 2000
"""Entries that a reader may fall behind."""
PIECE = 100
RETRY = 2000
"""Milliseconds after which a browser comes back."""
_ID = re.compile(r"([0-9a-f]{1,16})-([0-9]{1,15})")


class EventsQuery(Struct, frozen=True):
    limit: Annotated[
        int | None,
        Meta(ge=1, le=MOST, description=f"at most so many, the newest (default: {SHOWN}; of a stream: only new ones)"),
    ] = None
    pool: Annotated[str | None, Meta(description="only this pool's")] = None
    kind: Annotated[str | None, Meta(description="only these, such as worker.crashed,pool.fatal")] = None
    since: Annotated[
        str | None, Meta(description="after this number, in the last time such as 10m, or since a time of RFC 3339")
    ] = None
    follow: Annotated[bool, Meta(description="as a stream, whatever Accept says")] = False
    last_event_id: Annotated[str | None, Meta(description="as the header Last-Event-ID")] = None


@dataclass(frozen=True, slots=True)
class Wanted:
    pool: str | None
    kinds: frozenset[str] | None

    def has(self, entry: Entry) -> bool:
        return (self.pool is None or entry.pool == self.pool) and (self.kinds is None or entry.news.kind in self.kinds)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a stream begins: after number `since`. `restarted`: the number was another supervisor life's."""

    since: int
    restarted: bool = False


async def show_events(request: web.Request) -> web.StreamResponse:
    face, query = request.app[FACE], read_query(request, EventsQuery)
    journal, wanted = face.supervisor.journal, _wanted(query, face)
    since = 0 if query.since is None else _since(query.since, journal, face.views)
    if query.follow or accepts(request, EVENT_STREAM):
        place = _resumed(request, query, journal) or _begun(query, journal, wanted, since)
        return await stream(request, EVENT_STREAM, partial(_send, request, wanted, place))
    entries = [entry for entry in reversed(journal.entries(since)) if wanted.has(entry)][: query.limit or SHOWN]
    document: wire.EventsDocument = {
        "events": [view_entry(entry, face.views.time) for entry in entries],
        "last": journal.last,
        "epoch": journal.epoch,
    }
    return json_response(document)


async def _send(request: web.Request, wanted: Wanted, place: Place, client: Stream) -> None:
    face = request.app[FACE]
    with anyio.CancelScope() as scope:  # the reader that falls behind is mostly one that waits for its client
        reader = face.supervisor.journal.subscribe(BEHIND, place.since, scope.cancel)
        try:
            with request.app[STREAMS].ending(reader.close):
                await client.send(f"retry: {RETRY}\n".encode() + _mark(face, reader))
                if place.restarted:
                    await client.send(_gap(face, reader, "the supervisor has been restarted since", None))
                while await client.wait(reader.more, partial(_beat, face, reader)):
                    await _send_next(face, wanted, reader, client)
        finally:
            reader.close()
    if reader.dropped:
        why = f"the client fell more than {BEHIND} events behind; come back with Last-Event-ID"
        await client.cut_off(event("stream.dropped", {"why": why}))


async def _send_next(face: Face, wanted: Wanted, reader: Subscription, client: Stream) -> None:
    """A gap and what follows it at once: while the client was told of the gap alone, more would go."""
    missed = reader.missed
    gap = _gap(face, reader, f"{missed} events are no longer known", missed) if missed else b""
    entries = reader.take(PIECE)
    told = [_encode(face.views, face.supervisor.journal.epoch, entry) for entry in entries if wanted.has(entry)]
    await client.send(gap + b"".join(told))


@lru_cache(512)
def _encode(views: Views, epoch: str, entry: Entry) -> bytes:
    """The same for all who follow."""
    return event(entry.news.kind, view_entry(entry, views.time), f"{epoch}-{entry.seq}")


def _gap(face: Face, reader: Subscription, why: str, missed: int | None) -> bytes:
    journal = face.supervisor.journal
    return event("stream.gap", {"why": why, "missed": missed}, f"{journal.epoch}-{reader.position + (missed or 0)}")


def _mark(face: Face, reader: Subscription) -> bytes:
    """No event, but where to come back to: a client whose filter lets little through would fall far behind."""
    return f"id: {face.supervisor.journal.epoch}-{reader.position}\n\n".encode()


def _beat(face: Face, reader: Subscription) -> bytes:
    return b": heartbeat\n" + _mark(face, reader)


# What is asked for


def _wanted(query: EventsQuery, face: Face) -> Wanted:
    """Raises UnknownPool, and Refused for a kind that there is not."""
    pool, kinds = query.pool, None
    known = pool is None or pool in face.supervisor.names
    if not known and all(entry.pool != pool for entry in face.supervisor.journal.entries()):
        raise UnknownPool(pool or "")
    if query.kind is not None:
        kinds = frozenset(word.strip() for word in query.kind.split(","))
        for kind in sorted(kinds - SENTENCES.keys()):
            raise Refused(400, f"cannot use kind={kind[:50]!r}: there is no such event; {advise(kind[:50], SENTENCES)}")
    return Wanted(pool, kinds)


def _since(text: str, journal: Journal, views: Views) -> int:
    """The number of the last entry before. Raises Refused."""
    if text.isascii() and text.isdigit() and len(text) < 16:
        return int(text)
    at = _moment(text, views)
    return next((entry.seq - 1 for entry in journal.entries() if entry.news.at >= at), journal.last)


def _moment(text: str, views: Views) -> float:
    """An age or a time of RFC 3339, in monotonic seconds. Raises Refused."""
    seconds = to_seconds(text)
    if seconds >= 0:
        return anyio.current_time() - seconds
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return views.monotonic(moment)
    except (ValueError, OverflowError):
        pass
    valid = "write the number of an event, an age such as 10m, or a time such as 2026-11-23T10:00:00Z"
    raise Refused(400, f"cannot use since={text[:50]!r}: it is neither a number nor a time; {valid}")


def _begun(query: EventsQuery, journal: Journal, wanted: Wanted, since: int) -> Place:
    """A new stream: from now on, unless the query wants something that was before."""
    if query.since is None and query.limit is None:
        return Place(journal.last)
    if query.limit is None:
        return Place(min(since, journal.last))
    entries: Sequence[Entry] = [entry for entry in journal.entries(since) if wanted.has(entry)][-query.limit :]
    return Place(entries[0].seq - 1 if entries else journal.last)


def _resumed(request: web.Request, query: EventsQuery, journal: Journal) -> Place | None:
    """None for a new stream. A browser that comes back asks for the same address again: what it says of the beginning
    counts no more. Raises Refused."""
    text = request.headers.get("Last-Event-ID") or query.last_event_id
    if not text:
        return None
    match = _ID.fullmatch(text)
    if match is None:
        raise Refused(
            400, f"cannot resume after {text[:50]!r}: it is not the id of an event, such as {journal.epoch}-17"
        )
    if match[1] != journal.epoch:
        return Place(0, restarted=True)
    return Place(min(int(match[2]), journal.last))


ROUTES = (
    Route(
        method="GET", path="/api/v1/events", handler=show_events, access="read",
        summary="What has happened, newest first; or, as a stream, while it happens", query=EventsQuery,
        answers={200: (wire.EventsDocument, EVENT_STREAM)}, problems=(404,),
    ),
)  # fmt: skip
