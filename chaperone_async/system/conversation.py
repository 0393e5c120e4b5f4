"""What one worker says over its notify socket, message by message, becomes its `Telemetry`.

Jobs are counted by each process for itself (a prefork worker's children each count their own), so the worker's
counts are the sum over its processes. A message is taken as a whole or, malformed, not at all.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from chaperone_async.core.events import WorkerRef
from chaperone_async.system.ports import (
    ExtendNotice,
    JobNotice,
    Notice,
    ReadyNotice,
    StoppingNotice,
    Telemetry,
)

EMPTY = Telemetry()
LONGEST_EXTENSION = 3600.0  # seconds
_OURS = "X_CHAPERONE_"
_MAX_TEXT = 512  # characters kept of a status, a job's id or name
_MAX_JOBS = 256  # remembered as running, per process
_SWEEP = 1.0  # seconds between looks for senders that are gone


class Malformed(ValueError):  # noqa: N818  a verdict on a message, counted where it is caught
    """A message that does not mean anything."""


@dataclass(slots=True)
class _Sender:
    """One process of the worker, and what it has counted."""

    pid: int
    done: int = 0
    failed: int = 0
    running: int = 0
    missed: bool = False  # it was gone when last looked for


def parse(data: bytes) -> dict[str, str]:
    """`KEY=value` lines, the form systemd's sd_notify(3) sends."""
    try:
        fields = dict(line.split("=", 1) for line in data.decode().split("\n") if line)
    except ValueError as error:
        raise Malformed from error
    if not fields:
        raise Malformed
    return fields


class Conversation:
    """With one worker, from spawn to exit. `telemetry` is a new record after each message that changes it."""

    def __init__(self, ref: WorkerRef, pid: int) -> None:
        self.telemetry = EMPTY
        self._ref = ref
        self._pid = pid
        self._senders: dict[int, _Sender] = {}
        self._jobs: dict[tuple[int, str], tuple[str | None, float]] = {}  # running: name and start, oldest first
        self._swept_at = float("-inf")

    def knows(self, sender: int) -> bool:
        return sender in self._senders

    def hear(self, sender: int, data: bytes, now: float) -> list[Notice]:
        """Take one message of a process that is known to belong to the worker. Raises Malformed."""
        fields = parse(data)
        notices = _notices(self._ref, fields)
        report = _JobReport.of(fields)
        changes: dict[str, Any] = {}
        if _said(fields, "WATCHDOG"):
            changes["heartbeat_at"] = now
        if "STATUS" in fields:
            changes["status"] = fields["STATUS"][:_MAX_TEXT]

        if now - self._swept_at >= _SWEEP:
            self._swept_at = now
            self._sweep()
        process = self._senders.get(sender)
        if process is None:
            process = self._senders[sender] = _Sender(sender)
        if report is not None:
            changes |= self._count(process, report)
            changes |= self._follow_jobs(process, report, now)
            if report.event == "end":
                notices.append(JobNotice(self._ref))
        if changes:
            self.telemetry = replace(self.telemetry, **changes)
        return notices

    def _count(self, process: _Sender, report: "_JobReport") -> dict[str, Any]:
        ended = report.event == "end" and report.done is None and report.failed is None
        done = max(process.done + (ended and report.ok), report.done or 0)
        failed = max(process.failed + (ended and not report.ok), report.failed or 0)
        changes = {
            "spoke": True,
            "jobs_done": self.telemetry.jobs_done + done - process.done,
            "jobs_failed": self.telemetry.jobs_failed + failed - process.failed,
        }
        process.done, process.failed = done, failed
        return changes

    def _follow_jobs(self, process: _Sender, report: "_JobReport", now: float) -> dict[str, Any]:
        changes: dict[str, Any] = {}
        key = (process.pid, report.job)
        before = self._jobs.pop(key, None)
        process.running -= before is not None
        if report.event == "start":
            self._jobs[key] = (report.name, now)
            process.running += 1
        elif report.event == "end":
            seconds = report.seconds
            if seconds is None:
                seconds = now - before[1] if before else 0.0
            changes["busy_seconds"] = self.telemetry.busy_seconds + seconds
            changes["last_job_ended_at"] = now
        # Ends may have been lost on the way: what exceeds the sender's own count of running jobs is over.
        if process.running > report.running:
            for old in [key for key in self._jobs if key[0] == process.pid][: process.running - report.running]:
                del self._jobs[old]
            process.running = report.running
        return changes | self._current_job()

    def _current_job(self) -> dict[str, Any]:
        """The one that has been running longest."""
        for (_, job), (name, since) in self._jobs.items():
            return {"current_job": job, "current_job_name": name, "current_job_since": since}
        return {"current_job": None, "current_job_name": None, "current_job_since": None}

    def _sweep(self) -> None:
        """Short-lived senders (a process for each job) must not pile up, and a killed one runs no job any more.

        A sender is let go the second time it is not found: the first time its last words may still be in the socket.
        """
        for pid, process in tuple(self._senders.items()):
            if pid == self._pid or _exists(pid):
                process.missed = False
            elif not process.missed:
                process.missed = True
            else:
                del self._senders[pid]
                if process.running:
                    self._jobs = {key: job for key, job in self._jobs.items() if key[0] != pid}
                    self.telemetry = replace(self.telemetry, **self._current_job())


@dataclass(frozen=True, slots=True)
class _JobReport:
    """The X_CHAPERONE_ part of a message."""

    event: str | None
    job: str
    name: str | None
    ok: bool
    seconds: float | None
    done: int | None
    failed: int | None
    running: int

    @staticmethod
    def of(fields: Mapping[str, str]) -> "_JobReport | None":
        event = fields.get("X_CHAPERONE_EVENT")
        done, failed = _count(fields, "DONE"), _count(fields, "FAILED")
        if event is None and done is None and failed is None:
            return None
        job = fields.get("X_CHAPERONE_JOB", "")
        if event is not None and (event not in {"start", "end"} or not job):
            raise Malformed
        ok = fields.get("X_CHAPERONE_OK", "1")
        if ok not in {"0", "1"}:
            raise Malformed
        milliseconds = _duration(fields, "MS")
        _duration(fields, "WAIT_MS")
        running = _count(fields, "RUNNING")
        return _JobReport(
            event=event,
            job=job[:_MAX_TEXT],
            name=fields["X_CHAPERONE_NAME"][:_MAX_TEXT] if fields.get("X_CHAPERONE_NAME") else None,
            ok=ok == "1",
            seconds=None if milliseconds is None else milliseconds / 1000,
            done=done,
            failed=failed,
            running=_MAX_JOBS if running is None else min(running, _MAX_JOBS),
        )


def _notices(ref: WorkerRef, fields: Mapping[str, str]) -> list[Notice]:
    notices: list[Notice] = []
    if _said(fields, "READY"):
        notices.append(ReadyNotice(ref))
    if _said(fields, "STOPPING"):
        notices.append(StoppingNotice(ref))
    _said(fields, "RELOADING")
    if "EXTEND_TIMEOUT_USEC" in fields:
        seconds = _number(fields["EXTEND_TIMEOUT_USEC"]) / 1_000_000
        if not 0 < seconds <= LONGEST_EXTENSION:
            raise Malformed
        notices.append(ExtendNotice(ref, seconds))
    return notices


def _said(fields: Mapping[str, str], key: str) -> bool:
    value = fields.get(key)
    if value not in {None, "1"}:
        raise Malformed
    return value is not None


def _count(fields: Mapping[str, str], key: str) -> int | None:
    text = fields.get(_OURS + key)
    return None if text is None else _number(text)


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 15):
        raise Malformed
    return int(text)


def _duration(fields: Mapping[str, str], key: str) -> float | None:
    """Milliseconds; a fraction is fine, a sign, an exponent or an infinity is not."""
    text = fields.get(_OURS + key)
    if text is None:
        return None
    whole, _, fraction = text.partition(".")
    return _number(whole) + (_number(fraction[:15]) / 10 ** len(fraction[:15]) if fraction else 0.0)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
