"""Messages of systemd's notify protocol, with our fields: read strictly, because whatever is malformed is dropped."""

import re
from collections.abc import Mapping
from typing import NamedTuple

LONGEST_EXTENSION = 3600.0  # seconds
MAX_ARGUMENTS = 12_288  # characters of a failed job's arguments; cut, they could not be sent again
MAX_TEXT = 512  # characters kept of a status, a job's id or name
MAX_JOBS = 256  # remembered as running, per process
_LONGEST_NUMBER = 15  # digits
_DECIMAL = re.compile(r"[0-9]{1,15}(\.[0-9]{1,15})?")


class Malformed(ValueError):
    """A message that does not mean anything."""


def parse(data: bytes) -> dict[str, str]:
    """`KEY=value` lines, the form systemd's sd_notify(3) sends."""
    try:
        fields = dict([line.split("=", 1) for line in data.decode().split("\n") if line])
    except ValueError as error:
        raise Malformed from error
    if not fields:
        raise Malformed
    return fields


class JobReport(NamedTuple):
    """The X_CHAPERONE_ part of a message."""

    event: str | None
    job: str
    name: str | None
    ok: bool
    seconds: float | None
    done: int | None
    failed: int | None
    running: int
    queue: str | None = None
    wait: float | None = None  # seconds
    error: str | None = None
    arguments: str | None = None  # what it takes to send a failed job again


def read_report(fields: Mapping[str, str]) -> JobReport | None:
    event = fields.get("X_CHAPERONE_EVENT")
    done = _count(fields, "X_CHAPERONE_DONE")
    failed = _count(fields, "X_CHAPERONE_FAILED")
    if event is None and done is None and failed is None:
        return None
    job = fields.get("X_CHAPERONE_JOB", "")
    ok = fields.get("X_CHAPERONE_OK", "1")
    if event not in {None, "start", "end"} or (event and not job) or ok not in {"0", "1"}:
        raise Malformed
    running = _count(fields, "X_CHAPERONE_RUNNING")
    wait = _seconds(fields, "X_CHAPERONE_WAIT_MS")
    arguments = fields.get("X_CHAPERONE_ARGS")
    return JobReport(
        event,
        job[:MAX_TEXT],
        fields.get("X_CHAPERONE_NAME", "")[:MAX_TEXT] or None,
        ok == "1",
        _seconds(fields, "X_CHAPERONE_MS"),
        done,
        failed,
        MAX_JOBS if running is None else min(running, MAX_JOBS),
        fields.get("X_CHAPERONE_QUEUE", "")[:MAX_TEXT] or None,
        wait,
        fields.get("X_CHAPERONE_ERROR", "")[:MAX_TEXT] or None,
        arguments if arguments is not None and len(arguments) <= MAX_ARGUMENTS else None,
    )


def read_extension(fields: Mapping[str, str]) -> float | None:
    """Seconds of EXTEND_TIMEOUT_USEC."""
    microseconds = _count(fields, "EXTEND_TIMEOUT_USEC")
    if microseconds is None:
        return None
    if not 0 < microseconds <= LONGEST_EXTENSION * 1_000_000:
        raise Malformed
    return microseconds / 1_000_000


def said(fields: Mapping[str, str], key: str) -> bool:
    """Fields that are there as `=1`, or not at all."""
    value = fields.get(key)
    if value not in {None, "1"}:
        raise Malformed
    return value is not None


def _count(fields: Mapping[str, str], key: str) -> int | None:
    text = fields.get(key)
    if text is None:
        return None
    if len(text) > _LONGEST_NUMBER or not (text.isascii() and text.isdecimal()):
        raise Malformed
    return int(text)


def _seconds(fields: Mapping[str, str], key: str) -> float | None:
    """From milliseconds; a fraction is fine, a sign, an exponent or an infinity is not."""
    text = fields.get(key)
    if text is None:
        return None
    if not _DECIMAL.fullmatch(text):
        raise Malformed
    return float(text) / 1000
