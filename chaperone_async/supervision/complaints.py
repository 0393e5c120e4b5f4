"""What is wrong with a pool's callbacks and checks, and so no fault of its workers."""

from collections.abc import Callable

from chaperone_async.supervision.hooks import told


class Complaints:
    """Each is counted or kept, but told only when it is not like the last: a broken check fails every second."""

    def __init__(self, tell: Callable[[str, str], None]) -> None:
        self._tell = tell
        self.callback_failures = 0
        self.last_callback_failure = ""
        self.broken_checks: dict[str, str] = {}

    def callback_failed(self, what: str, error: str) -> None:
        self.callback_failures += 1
        error = told(error)
        failure = f"{what}: {error.strip().splitlines()[-1]}"
        if failure != self.last_callback_failure:
            self.last_callback_failure = failure
            self._tell("callback.failed", f"{what}: {error}")

    def check_broken(self, check: str, detail: str) -> None:
        """A check that could not be made says nothing of the worker."""
        detail = told(detail)
        if self.broken_checks.get(check) != detail:
            self.broken_checks[check] = detail
            self._tell("check.broken", f"{check}: {detail}")

    def check_works(self, check: str) -> None:
        self.broken_checks.pop(check, None)

    def forget_checks(self) -> None:
        self.broken_checks.clear()
