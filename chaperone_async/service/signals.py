"""Signals to the supervisor → requests to it."""

import signal
from collections.abc import AsyncIterator, Callable

import anyio

from chaperone_async.core.events import PauseRequested, ResumeRequested, RollRequested
from chaperone_async.service.stopping import waiting_for
from chaperone_async.service.views import Views
from chaperone_async.supervision.supervisor import Supervisor

HEARD = (
    signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTSTP, signal.SIGCONT,
)  # fmt: skip
PROGRESS_EVERY = 2.0
SAME_SIGNAL = 0.3
"""Seconds within which a second TERM or INT is an echo of the first: `timeout`, shells and some init processes signal a
process and its group."""

Tell = Callable[[str, str], None]


class SignalDesk:
    """TERM and INT drain, and hurry the second time; USR1 tells the state, USR2 restarts all workers one by one, TSTP
    and CONT pause and resume. HUP reloads; where there is nothing to reload it does nothing, so that a closed terminal
    does not kill. `grace` in seconds may be set anew at any time."""

    def __init__(self, supervisor: Supervisor, views: Views, tell: Tell, grace: float) -> None:
        self._supervisor = supervisor
        self._views = views
        self._tell = tell
        self.grace = grace
        self.reload: Callable[[str], None] | None = None
        self._signalled_at: float | None = None

    async def run(self, signals: AsyncIterator[int]) -> None:
        async for number in signals:
            self._take(number)

    def _take(self, number: int) -> None:
        now, by = anyio.current_time(), signal.Signals(number).name
        match number:
            case signal.SIGTERM | signal.SIGINT:
                self._stop(by)
            case signal.SIGUSR1:
                self._tell_state()
            case signal.SIGHUP:
                self._reload(by)
            case _:
                for name in self._supervisor.names:
                    if name in self._supervisor.leaving:
                        continue
                    if number == signal.SIGUSR2:
                        if self._supervisor.runner(name).pool.hold is None:  # what is stopped by hand stays so
                            self._supervisor.submit(name, RollRequested(None, now, by))
                    elif number == signal.SIGTSTP:
                        self._supervisor.submit(name, PauseRequested(None, now, by))
                    else:
                        self._supervisor.submit(name, ResumeRequested(None, now, by))

    def _reload(self, by: str) -> None:
        if self.reload is None:
            self._tell("supervisor.trouble", f"{by}: there is no configuration file to reload; nothing changed")
        else:
            self.reload(by)

    def shut_down(self, by: str) -> None:
        """Asked for again, it changes nothing."""
        if self._supervisor.deadline is None:
            self._tell("supervisor.stopping", f"{by}: draining, all is over in {self.grace:g} s at the latest")
            self._supervisor.shut_down(anyio.current_time() + self.grace)

    def _stop(self, by: str) -> None:
        """The first signal only drains, also where something else has begun to."""
        now, deadline = anyio.current_time(), self._supervisor.deadline
        if self._signalled_at is None:
            self._signalled_at = now
            if deadline is not None:
                left = f"all is over in {max(0.0, deadline - now):.0f} s at the latest"
                self._tell("supervisor.stopping", f"{by}: draining already, {left}")
            self.shut_down(by)
        elif now - self._signalled_at > SAME_SIGNAL:
            self._tell("supervisor.stopping", f"{by} again: killing what is left")
            self._supervisor.shut_down(now)

    def _tell_state(self) -> None:
        snapshot = self._supervisor.snapshot()
        for view in snapshot.pools:
            pool = self._views.pool(view, snapshot.at)
            about = f"{pool['state']}, {pool['ready_workers']} of {pool['desired']} ready"
            self._tell("supervisor.state", f"{pool['name']}: {about}")
            for row in pool["workers"]:
                what = f"slot {row['slot']} {row['status']} id {row['id']} pid {row['pid']} up {row['uptime']:.0f} s"
                usage = f"{row['memory_usage']} MB, {row['cpu_percent']} % CPU, {row['jobs_processed']} jobs"
                problem = f": {row['problem']}" if row["problem"] else ""
                self._tell("supervisor.state", f"{pool['name']}: {what}, {usage}{problem}")

    async def tell_progress(self) -> None:
        """While stopping."""
        while True:
            await anyio.sleep(PROGRESS_EVERY)
            if self._supervisor.deadline is not None:
                waiting = waiting_for(self._supervisor.snapshot())
                if waiting is not None:
                    self._tell("supervisor.waiting", waiting)
