"""What is wrong with a pool's callbacks and checks, and so no fault of its workers."""

from collections import defaultdict, deque
from collections.abc import Callable
from functools import partial

import anyio

from chaperone_async.core.events import WorkerRef
from chaperone_async.supervision.hooks import told

FEW, WHILE = 5, 600.0  # times, seconds


class Complaints:
    """Each is counted or kept, but told only when it is not like the last, and only a few times in a while: a broken
    check fails every second, of many workers, each in its own words."""

    def __init__(self, tell: Callable[[str, str], None]) -> None:
        self._tell = tell
        self._told: defaultdict[tuple[str, str], deque[float]] = defaultdict(partial(deque, maxlen=FEW))
        self.callback_failures = 0
        self.last_callback_failure = ""
        self._broken: defaultdict[str, dict[WorkerRef | None, str]] = defaultdict(dict)

    @property
    def broken_checks(self) -> dict[str, str]:
        """Those that do not work for somebody, and the latest word about it."""
        return {check: list(words.values())[-1] for check, words in self._broken.items() if words}

    def callback_failed(self, what: str, error: str) -> None:
        self.callback_failures += 1
        error = told(error)
        failure = f"{what}: {error.strip().splitlines()[-1]}"
        if failure != self.last_callback_failure:
            self.last_callback_failure = failure
            self._perhaps_tell("callback.failed", what, error)

    def check_broken(self, check: str, detail: str, of: WorkerRef | None = None) -> None:
        """A check that could not be made says nothing of the worker. `of`: None where it cannot be made at all."""
        detail = told(detail)
        words = self._broken[check]
        if words.get(of) != detail:
            is_news = detail not in words.values()
            words.pop(of, None)  # so that these become the latest
            words[of] = detail
            if is_news:
                self._perhaps_tell("check.broken", check, detail)

    def check_works(self, check: str, of: WorkerRef) -> None:
        self._broken[check].pop(of, None)

    def forget(self, worker: WorkerRef) -> None:
        for told_by in self._broken.values():
            told_by.pop(worker, None)

    def forget_checks(self) -> None:
        self._broken.clear()

    def _perhaps_tell(self, kind: str, what: str, detail: str) -> None:
        told, now = self._told[kind, what], anyio.current_time()
        if len(told) < FEW or now - told[0] > WHILE:
            told.append(now)
            self._tell(kind, f"{what}: {detail}")
