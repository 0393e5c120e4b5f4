"""Journal → lines on the supervisor's own stdout, between the workers' lines and in the same format (text or JSON)."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal

import orjson

from chaperone_async.service.sentences import LEVELS, level, sentence
from chaperone_async.service.views import rfc3339
from chaperone_async.supervision.journal import Entry
from chaperone_async.system.stdout import StdoutWriter

LogFormat = Literal["text", "json"]


def json_notice(message: str) -> bytes:
    """What the writer of stdout has to say of itself, as a line among JSON lines."""
    time = rfc3339(datetime.now(UTC))
    return orjson.dumps({"time": time, "level": "warning", "event": "supervisor.trouble", "message": message}) + b"\n"


class StdoutLog:
    """`write_entry` is the journal's listener. Lines under `least` are left out."""

    def __init__(
        self, writer: StdoutWriter, log_format: LogFormat, least: str, wall: Callable[[float], datetime]
    ) -> None:
        self._writer = writer
        self._json = log_format == "json"
        self.set_level(least)
        self._wall = wall

    def set_level(self, least: str) -> None:
        self._least = LEVELS.index(least)

    def write_entry(self, entry: Entry) -> None:
        news = entry.news
        severity = level(news)
        if LEVELS.index(severity) < self._least:
            return
        time, message = rfc3339(self._wall(news.at)), sentence(news)
        if not self._json:
            pool = f"{entry.pool}: " if entry.pool else ""
            lines = message.rstrip().splitlines()
            text = "".join(f"chaperone | {time} {severity:7} {pool}{line}\n" for line in lines)
            self._writer.write(text.encode(errors="replace"))
            return
        document: dict[str, object] = {"time": time, "level": severity, "event": news.kind, "message": message}
        document["pool"] = entry.pool
        if news.ref is not None:
            document |= {"worker": news.worker_id, "slot": news.ref.slot, "pid": news.pid}
        if news.reason is not None:
            document["reason"] = str(news.reason)
        self._writer.write(orjson.dumps({k: v for k, v in document.items() if v is not None}) + b"\n")


_LOGGING = dict(zip(LEVELS, (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR), strict=True))


class LoggingLog:
    """For a supervisor inside another program: its log goes where that program's logging puts it."""

    def __init__(self) -> None:
        self._logger = logging.getLogger("chaperone")

    def write_entry(self, entry: Entry) -> None:
        pool = f"{entry.pool}: " if entry.pool else ""
        self._logger.log(_LOGGING[level(entry.news)], "%s%s", pool, sentence(entry.news).rstrip())
