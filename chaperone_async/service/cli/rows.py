"""Documents of the API → what people read of them. Pure: `now` says what time it is, and in which time zone."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from signal import Signals
from typing import Any

from chaperone_async.service.cli.table import Cell, Column, Table, Tone

Document = dict[str, Any]
NOTHING = "-"
UNKNOWN = "?"

_TONES: dict[str, Tone] = {
    "running": "good",
    "ready": "good",
    "starting": "warn",
    "degraded": "warn",
    "paused": "warn",
    "stopping": "warn",
    "draining": "warn",
    "backoff": "bad",
    "crashed": "bad",
    "unhealthy": "bad",
    "fatal": "bad",
    "stopped": "dim",
}
_OPERATION_TONES: dict[str, Tone] = {"done": "good", "running": "warn", "failed": "bad"}
_EXPECTED = {"exit", "stop", "restart", "reload", "scaled_down", "max_time", "max_jobs"}


def workers_table(pool: Document, now: datetime) -> Table:
    """One line per slot. The columns Activity, Job and Problem are there only when some worker has one."""
    workers = pool["workers"]
    columns: tuple[Column, ...] = (
        Column("ID"),
        Column("PID", right=True),
        Column("Queue"),
        Column("Status"),
        Column("Started At"),
        Column("Jobs", right=True),
        Column("Memory (MB)", right=True),
        Column("CPU (%)", right=True),
    )
    rows = [_worker_row(worker, now) for worker in workers]
    more: list[tuple[Column, list[Cell]]] = []
    if any(worker["activity"] != "unknown" for worker in workers):
        more.append((Column("Activity"), [_activity(worker) for worker in workers]))
    if any(worker["current_job"] for worker in workers):
        more.append((Column("Job", long=True), [Cell(_job(worker)) for worker in workers]))
    if any(worker.get("problem") for worker in workers):
        more.append((Column("Problem", long=True), [Cell(_why(worker, "problem", now)) for worker in workers]))
    for column, cells in more:
        columns += (column,)
        rows = [(*row, cell) for row, cell in zip(rows, cells, strict=True)]
    return Table(columns, rows)


def _activity(worker: Document) -> Cell:
    if worker["activity"] == "unknown" or worker["pid"] is None:
        return Cell(NOTHING)
    return Cell(worker["activity"], "good" if worker["activity"] == "busy" else "plain")


def _job(worker: Document) -> str:
    """`send_email 1a2b3c, 12s`; of several, the one that has been running longest."""
    job = worker["current_job"]
    if job is None:
        return ""
    name, age, others = worker.get("current_job_name"), worker.get("current_job_age"), worker.get("jobs_running", 1) - 1
    told = f"{name} {job}" if name else str(job)
    return f"{told}{'' if age is None else f', {duration(age)}'}{f', and {others} more' if others > 0 else ''}"


def _worker_row(worker: Document, now: datetime) -> tuple[Cell, ...]:
    alive = worker["pid"] is not None
    silent = worker["activity"] == "unknown" and not worker["jobs_processed"]  # it tells nothing: 0 would be a guess
    return (
        Cell(worker["id"] or f"(slot {worker['slot']})"),
        Cell(str(worker["pid"]) if alive else NOTHING),
        Cell(worker["queue"]),
        toned(worker["status"]),
        Cell(clock(worker["started_at"], now)),
        Cell(NOTHING if silent else str(worker["jobs_processed"])),
        Cell(f"{worker['memory_usage']:.1f}" if alive else NOTHING),
        Cell(f"{worker['cpu_percent']:.1f}" if alive else NOTHING),
    )


def _why(document: Document, key: str, now: datetime) -> str:
    """Where it is somebody who holds it: since when, and until when."""
    why, by = document.get(key) or "", document.get("held_by")
    if by is None or why not in {f"paused by {by}", f"stopped by {by}"}:
        return why
    until = document.get("held_until")
    return f"{why} since {clock(document['held_since'], now)}" + (f" until {clock(until, now)}" if until else "")


def pool_line(pool: Document) -> Cell:
    """Over a pool's workers, where there are several pools."""
    return Cell(f"{pool['name']}: {pool['state']}, {_ready(pool)} ready", "head")


def supervisor_line(status: Document) -> Cell:
    line = f"{status['name']}: {status['state']}, chaperone {status['version']}, pid {status['pid']}"
    ends = status.get("drain_ends_in")
    ending = "" if ends is None else f", ends within {duration(ends)}"
    return Cell(f"{line}, up {duration(status['uptime'])}{ending}", "head")


def status_table(status: Document, now: datetime) -> Table:
    """One line per pool. The columns Scale and Backlog are there only when some pool has one."""
    pools = status["pools"]
    columns: tuple[tuple[Column, list[Cell]], ...] = (
        (Column("Pool"), [Cell(pool["name"]) for pool in pools]),
        (Column("State"), [toned(pool["state"]) for pool in pools]),
        (Column("Ready", right=True), [Cell(_ready(pool), "plain" if pool["ready"] else "bad") for pool in pools]),
        (Column("Min", right=True), [Cell(str(pool["min_ready"])) for pool in pools]),
        (Column("Restarts", right=True), [Cell(str(pool["restarts"])) for pool in pools]),
    )
    if any(pool.get("autoscale") for pool in pools):
        columns += ((Column("Scale"), [Cell(_scale(pool)) for pool in pools]),)
    if any(pool.get("backlog") for pool in pools):
        columns += ((Column("Backlog", right=True), [_backlog(pool) for pool in pools]),)
    columns += ((Column("Reason", long=True), [Cell(_why(pool, "reason", now)) for pool in pools]),)
    rows = list(zip(*(cells for _, cells in columns), strict=True))
    return Table(tuple(column for column, _ in columns), rows)


def _scale(pool: Document) -> str:
    """`4 of 1-10, 2 leaving`: the workers that are wanted now."""
    bounds, leaving = pool.get("autoscale"), pool.get("leaving", 0)
    told = NOTHING if bounds is None else f"{pool['desired']} of {bounds['min']}-{bounds['max']}"
    return f"{told}, {leaving} leaving" if leaving else told


def _backlog(pool: Document) -> Cell:
    backlog = pool.get("backlog")
    if backlog is None:
        return Cell(NOTHING)
    return Cell(UNKNOWN, "bad") if backlog["ready"] is None else Cell(str(backlog["ready"]))


def _ready(pool: Document) -> str:
    return f"{pool['ready_workers']}/{pool['desired']}"


def operations_table(operations: list[Document], now: datetime) -> Table:
    columns = (
        Column("ID"), Column("Action"), Column("Target"), Column("State"), Column("By"), Column("Since"),
        Column("Ended"), Column("Detail", long=True),
    )  # fmt: skip
    return Table(columns, [_operation_row(operation, now) for operation in operations])


def _operation_row(operation: Document, now: datetime) -> tuple[Cell, ...]:
    return (
        Cell(operation["id"]),
        Cell(operation["action"]),
        Cell(operation["target"]),
        toned(operation["state"], _OPERATION_TONES),
        Cell(operation["by"]),
        Cell(clock(operation["started_at"], now)),
        Cell(clock(operation["ended_at"], now)),
        Cell(operation["detail"] or ""),
    )


def parts_table(operation: Document) -> Table:
    """One operation, pool by pool."""
    columns = (Column("Pool"), Column("State"), Column("Detail", long=True))
    rows: list[tuple[Cell, ...]] = [
        (Cell(part["pool"]), toned(part["state"], _OPERATION_TONES), Cell(part["detail"] or ""))
        for part in operation["pools"]
    ]
    return Table(columns, rows)


def crashes_table(document: Document, now: datetime) -> Table:
    columns = (
        Column("When"),
        Column("Worker"),
        Column("Slot", right=True),
        Column("Reason"),
        Column("Exit"),
        Column("Uptime", right=True),
        Column("Peak (MB)", right=True),
        Column("Detail", long=True),
    )
    return Table(columns, [_crash_row(record, now) for record in document["crashes"]])


def _crash_row(record: Document, now: datetime) -> tuple[Cell, ...]:
    return (
        Cell(clock(record["at"], now)),
        Cell(record["worker_id"]),
        Cell(str(record["slot"])),
        Cell(record["reason"], "plain" if record["reason"] in _EXPECTED else "bad"),
        Cell(_exit(record)),
        Cell(duration(record["uptime"])),
        Cell(f"{record['peak_memory']:.1f}"),
        Cell(record["detail"]),
    )


def output_lines(record: Document, now: datetime) -> Iterator[Cell]:
    """The last that a dead worker wrote, under a line that says whose it is."""
    lines = record["output"]
    title = f"last output of {record['worker_id']}, {clock(record['at'], now)}"
    yield Cell(f"{title}:" if lines else f"{title}: none", "head")
    for line in lines:
        yield Cell(f"  {line.expandtabs()}")


def _exit(record: Document) -> str:
    signal = record["exit_signal"]
    if signal is not None:
        return Signals(signal).name if signal in {known.value for known in Signals} else f"signal {signal}"
    return NOTHING if record["exit_code"] is None else str(record["exit_code"])


def toned(word: str, tones: Mapping[str, Tone] = _TONES) -> Cell:
    return Cell(word, tones.get(word, "plain"))


def clock(at: str | None, now: datetime) -> str:
    """Local time; with the date unless it is today's."""
    if at is None:
        return NOTHING
    local = datetime.fromisoformat(at).astimezone(now.tzinfo)
    return local.strftime("%H:%M:%S" if local.date() == now.date() else "%Y-%m-%d %H:%M:%S")


def duration(seconds: float) -> str:
    """The two largest units: `0.4s`, `12s`, `3m 12s`, `2h 5m`, `4d 1h`."""
    if seconds < 10:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d {hours}h"
    if hours:
        return f"{hours}h {minutes}m"
    return f"{minutes}m {rest}s" if minutes else f"{rest}s"
