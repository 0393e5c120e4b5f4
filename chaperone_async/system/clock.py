"""Wall time for people. Everything is decided on monotonic time; this only translates it for display."""

import time
from datetime import UTC, datetime

STEP = 0.5
"""Seconds by which the wall clock must have been set before past times are shown in its new terms."""


class WallClock:
    """`at(monotonic)` → aware UTC time. Small drifts do not make a shown time flicker; a set clock is followed."""

    def __init__(self) -> None:
        self._offset = _offset()

    def at(self, monotonic: float) -> datetime:
        now = _offset()
        if abs(now - self._offset) > STEP:
            self._offset = now
        return datetime.fromtimestamp(self._offset + monotonic, UTC)


def _offset() -> float:
    return time.time() - time.monotonic()
