"""What has happened: a bounded, numbered history of entries, the crash records, those who want to hear at once, and
those who read at their own pace."""

import sys
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import anyio

from chaperone_async.core.actions import Announce, Death
from chaperone_async.supervision.totals import Tally, Totals

ENTRIES_KEPT = 5000
OUTPUT_LINES_KEPT = 50


@dataclass(frozen=True, slots=True)
class Entry:
    """`seq` grows by one with each entry of this supervisor's life."""

    seq: int
    pool: str | None
    news: Announce


@dataclass(frozen=True, slots=True)
class CrashRecord:
    """One death with what is known of that life. Memory in bytes."""

    id: int
    pool: str
    death: Death
    peak_memory: int
    cpu_seconds: float
    job: str | None
    output: tuple[str, ...]


Listener = Callable[[Entry], None]


def _nothing() -> None:
    """For a reader that looks at `dropped` by itself."""


class Subscription:
    """One reader's place in the journal, where all entries stay: a reader costs no more than that. Supervision waits
    for none: one that falls more than `limit` entries behind, or behind where it began, is dropped."""

    def __init__(self, journal: "Journal", position: int, limit: int, on_drop: Callable[[], None]) -> None:
        self.position = position
        self.dropped = False
        self._journal = journal
        self._limit = limit
        self._allowed = limit + journal.last - position
        self._on_drop = on_drop
        self._closed = False
        self._woken = anyio.Event()

    @property
    def missed(self) -> int:
        """How many of the entries that come next are no longer kept: `take` goes on after them."""
        return self._journal.missed(self.position)

    async def more(self) -> bool:
        """Wait until there is something to take. False: it is over."""
        while not self.dropped and self.position == self._journal.last:
            if self._closed:
                return False
            self._woken = anyio.Event()
            await self._woken.wait()
        return not self.dropped

    def take(self, most: int) -> Sequence[Entry]:
        """The next entries, oldest first."""
        entries = self._journal.entries(self.position, most)
        if entries:
            self.position = entries[-1].seq
        if self.position == self._journal.last:
            self._allowed = self._limit
        return entries

    def close(self) -> None:
        """What has happened so far may still be taken; nothing will be added. Idempotent."""
        self._closed = True
        self._journal.unsubscribe(self)
        self._woken.set()

    def hear(self, last: int) -> bool:
        """For the journal: there is an entry of this number. False: the reader is too far behind, and is dropped."""
        self.dropped = last - self.position > self._allowed
        self._woken.set()
        if self.dropped:
            self._on_drop()
        return not self.dropped


class Journal:
    """`epoch` should differ between supervisor lives: it tells an entry's number from that of another life."""

    def __init__(self, kept: int = ENTRIES_KEPT, epoch: str = "000000") -> None:
        self.epoch = epoch
        self._subscriptions: dict[Subscription, None] = {}
        self._entries: deque[Entry] = deque(maxlen=kept)
        self._crashes: dict[str, deque[CrashRecord]] = {}
        self._listeners: list[Listener] = []
        self._seq = 0
        self._deaths = 0
        self._kinds: Counter[str] = Counter()
        self._tallies: defaultdict[str, Tally] = defaultdict(Tally)

    def add(self, pool: str | None, news: Announce) -> None:
        self._seq += 1
        entry = Entry(self._seq, pool, news)
        self._entries.append(entry)
        self._kinds[news.kind] += 1
        if news.kind == "worker.started" and pool is not None and news.ref is not None:
            self._tallies[pool].started(news.ref.slot)
        for listener in self._listeners:
            listener(entry)
        if self._subscriptions:
            self._subscriptions = {reader: None for reader in self._subscriptions if reader.hear(self._seq)}

    def listen(self, listener: Listener) -> Callable[[], None]:
        """`listener` is called with every entry from now on, must not block and must not raise. Returns its undoing."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def subscribe(self, limit: int, since: int | None = None, on_drop: Callable[[], None] = _nothing) -> Subscription:
        """To be closed by the reader, which takes what comes after number `since`, or from now on. `on_drop` is called
        when it is dropped."""
        subscription = Subscription(self, self._seq if since is None else since, limit, on_drop)
        self._subscriptions[subscription] = None
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        self._subscriptions.pop(subscription, None)

    @property
    def readers(self) -> int:
        return len(self._subscriptions)

    @property
    def last(self) -> int:
        """The number of the newest entry; 0 before the first."""
        return self._seq

    def missed(self, since: int) -> int:
        """How many entries after number `since` are no longer kept."""
        return max(0, self._oldest - 1 - since)

    def entries(self, since: int = 0, most: int = sys.maxsize) -> Sequence[Entry]:
        """The first `most` of those after number `since` that are still kept, oldest first."""
        first = max(0, since + 1 - self._oldest)
        return [self._entries[index] for index in range(first, min(first + most, len(self._entries)))]

    @property
    def _oldest(self) -> int:
        return self._seq + 1 - len(self._entries)

    def record(
        self, pool: str, death: Death, *, kept: int, peak_memory: int, cpu_seconds: float, job: str | None,
        output: Sequence[str],
    ) -> None:  # fmt: skip
        self._deaths += 1
        self._tallies[pool].ended(death, cpu_seconds)
        records = self._crashes.get(pool)
        if records is None or records.maxlen != kept:
            records = self._crashes[pool] = deque(records or (), maxlen=kept)
        records.append(CrashRecord(self._deaths, pool, death, peak_memory, cpu_seconds, job, tuple(output)))

    def crashes(self, pool: str) -> Sequence[CrashRecord]:
        """Newest first."""
        return list(reversed(self._crashes.get(pool, ())))

    def forget(self, pool: str) -> None:
        self._crashes.pop(pool, None)
        self._tallies.pop(pool, None)

    # What has been counted, however little of it is kept

    def counts(self) -> Mapping[str, int]:
        """Entries so far, by kind."""
        return dict(self._kinds)

    def totals(self, pool: str) -> Totals:
        tally = self._tallies.get(pool)
        return Totals() if tally is None else tally.so_far
