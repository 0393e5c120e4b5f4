"""Documents of the API about queues and failed jobs → what people read of them; see `rows`."""

from datetime import datetime

from chaperone_async.service.cli.rows import NOTHING, UNKNOWN, Document, clock, duration
from chaperone_async.service.cli.table import Cell, Column, Table

_LONGEST_ARGUMENTS = 60


def queues_table(queues: list[Document]) -> Table:
    """One line per queue. `-`: nothing there, such as no oldest job; `?`: unknown. The columns Pools and Problem are
    there where they have something to say."""
    columns: tuple[Column, ...] = (
        Column("Queue"),
        Column("Ready", right=True),
        Column("Delayed", right=True),
        Column("Reserved", right=True),
        Column("Oldest", right=True),
        Column("In/min", right=True),
        Column("Done/min", right=True),
        Column("Clear in", right=True),
        Column("Failed", right=True),
        Column("Pools", long=True),
    )
    rows = [_queue_row(queue) for queue in queues]
    if any(queue["problem"] for queue in queues):
        columns += (Column("Problem", long=True),)
        rows = [(*row, Cell(queue["problem"] or "", "bad")) for row, queue in zip(rows, queues, strict=True)]
    return Table(columns, rows)


def _queue_row(queue: Document) -> tuple[Cell, ...]:
    failed = queue["failed"]
    return (
        Cell(queue["name"]),
        Cell(_count(queue["ready"])),
        Cell(_count(queue["delayed"])),
        Cell(_count(queue["reserved"])),
        Cell(_oldest(queue)),
        Cell(_rate(queue["arrivals_per_minute"])),
        Cell(_rate(queue["completions_per_minute"])),
        Cell(_clear_in(queue)),
        Cell(_count(failed), "bad" if failed else "plain"),
        Cell(", ".join(queue["pools"])),
    )


def _count(value: int | None) -> str:
    return UNKNOWN if value is None else str(value)


def _rate(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.0f}" if value >= 10 or value == 0 else f"{value:.1f}"


def _oldest(queue: Document) -> str:
    if queue["ready"] == 0:
        return NOTHING
    return UNKNOWN if queue["oldest_age"] is None else duration(queue["oldest_age"])


def _clear_in(queue: Document) -> str:
    """At this pace. Where nothing is done at all, it never will be."""
    if queue["ready"] == 0:
        return NOTHING
    if queue["time_to_clear"] is not None:
        return duration(queue["time_to_clear"])
    return "never" if queue["ready"] and queue["completions_per_minute"] == 0 else UNKNOWN


def failed_table(jobs: list[Document], now: datetime) -> Table:
    columns: tuple[Column, ...] = (
        Column("When"), Column("Queue"), Column("ID"), Column("Job"), Column("Arguments", long=True),
        Column("Tries", right=True), Column("Error", long=True),
    )  # fmt: skip
    return Table(columns, [_failed_row(job, now) for job in jobs])


def _failed_row(job: Document, now: datetime) -> tuple[Cell, ...]:
    return (
        Cell(clock(job["at"], now)),
        Cell(job["queue"]),
        Cell(job["id"]),
        Cell(job["name"] or UNKNOWN),
        Cell(_short(job["arguments"])),
        Cell(NOTHING if job["attempts"] is None else str(job["attempts"])),
        Cell(_what_was_raised(job["error"]), "bad"),
    )


def _what_was_raised(error: str | None) -> str:
    """Python tells it after where it was, others before."""
    lines = (error or "").strip().splitlines()
    return UNKNOWN if not lines else lines[-1] if lines[0].startswith("Traceback") else lines[0]


def _short(arguments: str | None) -> str:
    if arguments is None:
        return UNKNOWN
    return arguments if len(arguments) <= _LONGEST_ARGUMENTS else f"{arguments[: _LONGEST_ARGUMENTS - 1]}…"
