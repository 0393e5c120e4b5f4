"""What one worker says over its notify socket, message by message, becomes its `Telemetry`.

Jobs are counted by each process for itself (a prefork worker's children each count their own), so the worker's
counts are the sum over its processes. A message is taken as a whole or, malformed, not at all.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from chaperone_async.core.events import WorkerRef
from chaperone_async.system.message import MAX_TEXT, JobReport, parse, read_extension, read_report, said
from chaperone_async.system.ports import (
    ExtendNotice,
    JobNotice,
    Notice,
    ReadyNotice,
    StoppingNotice,
    Telemetry,
)

EMPTY = Telemetry()
_SWEEP = 1.0  # seconds between looks for senders that are gone
_AFTERLIFE = 5.0  # seconds for a job whose process is gone
_NOTICED = frozenset({"READY", "STOPPING", "RELOADING", "EXTEND_TIMEOUT_USEC"})


@dataclass(slots=True)
class _Sender:
    """One process of the worker, and what it has counted."""

    pid: int
    done: int = 0
    failed: int = 0
    running: int = 0
    missed_at: float | None = None  # since then it is gone


class Conversation:
    """With one worker, from spawn to exit."""

    def __init__(self, ref: WorkerRef, pid: int) -> None:
        self._ref = ref
        self._pid = pid
        self._senders: dict[int, _Sender] = {}
        self._swept_at = float("-inf")
        self._spoke = False
        self._heartbeat_at: float | None = None
        self._status = ""
        self._done = self._failed = 0
        self._jobs: dict[tuple[int, str], tuple[str | None, float]] = {}  # running: name and start, oldest first
        self._ended_at: float | None = None
        self._busy = 0.0
        self._mark = ""
        self._told: Telemetry | None = EMPTY  # None: something new was said since

    @property
    def telemetry(self) -> Telemetry:
        """Made when it is asked for: a worker may say more than anybody wants to hear."""
        if self._told is None:
            # Of several running jobs the current one is that which has been running longest.
            (_, job), (name, since) = next(iter(self._jobs.items()), ((0, None), (None, None)))
            self._told = Telemetry(
                self._spoke,
                self._heartbeat_at,
                self._status,
                self._done,
                self._failed,
                job,
                name,
                since,
                self._ended_at,
                self._busy,
                tuple([(job, since) for (_, job), (_, since) in self._jobs.items()]),
                self._mark,
            )
        return self._told

    def look(self, now: float) -> None:
        """Who runs a job may be gone, with nobody left who says anything."""
        if self._jobs:
            self._sweep(now)

    def knows(self, sender: int) -> bool:
        return sender in self._senders

    def hear(self, sender: int, data: bytes, now: float) -> list[Notice]:
        """Take one message of a process that is known to belong to the worker. Raises Malformed."""
        fields = parse(data)
        notices = _notices(self._ref, fields)
        alive = said(fields, "WATCHDOG")
        report = read_report(fields)

        self._told = None
        if alive:
            self._heartbeat_at = now
        if "X_CHAPERONE_MARK" in fields:
            self._mark = fields["X_CHAPERONE_MARK"][:MAX_TEXT]
        if "STATUS" in fields:
            self._status = fields["STATUS"][:MAX_TEXT]
        self._sweep(now)
        process = self._senders.get(sender)
        if process is None:
            process = self._senders[sender] = _Sender(sender)
        if report is not None:
            self._spoke = True
            self._count(process, report)
            self._follow_job(process, report, now)
            if report.event == "end":
                notices.append(
                    JobNotice(
                        self._ref, report.job, report.name, report.queue, report.ok, report.seconds, report.wait,
                        report.error, report.arguments,
                    )
                )  # fmt: skip
        return notices

    def _count(self, process: _Sender, report: JobReport) -> None:
        ended = report.event == "end" and report.done is None and report.failed is None
        done = max(process.done + (ended and report.ok), report.done or 0)
        failed = max(process.failed + (ended and not report.ok), report.failed or 0)
        self._done += done - process.done
        self._failed += failed - process.failed
        process.done, process.failed = done, failed

    def _follow_job(self, process: _Sender, report: JobReport, now: float) -> None:
        key = (process.pid, report.job)
        before = self._jobs.pop(key, None)
        process.running -= before is not None
        if report.event == "start":
            self._jobs[key] = (report.name, now)
            process.running += 1
        elif report.event == "end":
            if report.seconds is not None:
                self._busy += report.seconds
            elif before is not None:
                self._busy += now - before[1]
            self._ended_at = now
        # Ends may have been lost on the way: what exceeds the sender's own count of running jobs is over.
        if process.running > report.running:
            for old in [key for key in self._jobs if key[0] == process.pid][: process.running - report.running]:
                del self._jobs[old]
            process.running = report.running

    def _sweep(self, now: float) -> None:
        """Short-lived senders (a process for each job) must not pile up, and a killed one runs no job any more.

        A sender is let go a while after it was missed: its last words may still be in the socket, and its worker may
        die of the same, which has the job then.
        """
        if now - self._swept_at < _SWEEP:
            return
        self._swept_at = now
        for pid, process in tuple(self._senders.items()):
            if pid == self._pid or _exists(pid):
                process.missed_at = None
            elif process.missed_at is None:
                process.missed_at = now
            elif now - process.missed_at >= _AFTERLIFE:
                del self._senders[pid]
                if process.running:
                    self._jobs = {key: job for key, job in self._jobs.items() if key[0] != pid}
                    self._told = None


def _notices(ref: WorkerRef, fields: Mapping[str, str]) -> list[Notice]:
    if _NOTICED.isdisjoint(fields):
        return []
    notices: list[Notice] = []
    if said(fields, "READY"):
        notices.append(ReadyNotice(ref))
    if said(fields, "STOPPING"):
        notices.append(StoppingNotice(ref))
    said(fields, "RELOADING")
    seconds = read_extension(fields)
    if seconds is not None:
        notices.append(ExtendNotice(ref, seconds))
    return notices


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
