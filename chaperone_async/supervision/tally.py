"""How many jobs the workers of a pool have done, the dead and the living, as they count them themselves."""

from collections.abc import Callable, Iterable

from chaperone_async.system.ports import Telemetry


class Tally:
    """`said`: what each of the living has told so far."""

    def __init__(self, said: Callable[[], Iterable[Telemetry]]) -> None:
        self._said = said
        self._done = self._failed = 0  # by the dead
        self._seconds = 0.0

    def bury(self, last: Telemetry) -> None:
        """A worker is not among the living any more; this it had told last."""
        self._done += last.jobs_done
        self._failed += last.jobs_failed
        self._seconds += last.busy_seconds

    def done(self) -> int:
        return self._done + sum([said.jobs_done for said in self._said()])

    def failed(self) -> int:
        return self._failed + sum([said.jobs_failed for said in self._said()])

    def ended(self) -> int:
        return self.done() + self.failed()

    def seconds(self) -> float:
        """The time that the ended jobs took."""
        return self._seconds + sum([said.busy_seconds for said in self._said()])
