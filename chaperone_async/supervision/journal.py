"""What has happened: a bounded, numbered history of entries, the crash records, and those who want to hear at once."""

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

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


class Journal:
    def __init__(self, kept: int = ENTRIES_KEPT) -> None:
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

    def listen(self, listener: Listener) -> Callable[[], None]:
        """`listener` is called with every entry from now on, must not block and must not raise. Returns its undoing."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def entries(self, since: int = 0) -> Sequence[Entry]:
        """Those after number `since` that are still kept, oldest first."""
        return [entry for entry in self._entries if entry.seq > since]

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
