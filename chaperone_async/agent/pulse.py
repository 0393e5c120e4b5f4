"""The pulse of an asynchronous worker: it is ready when it has looked for jobs for the first time, and from then on
there is a heartbeat while its loop turns, and either looks for jobs now and then or is at work on some."""

import asyncio
import time

from chaperone_async.worker import notify

_BEAT = 1.0


class Pulse:
    """`silence`: seconds without a look for jobs that are too long for a loop with nothing else to do."""

    def __init__(self, silence: float = 10.0) -> None:
        self._silence = silence
        self._looked_at = float("-inf")
        self._is_ready = False
        self._beats = False
        self.running = 0  # jobs

    def ready(self) -> None:
        if not self._is_ready:
            self._is_ready = True
            notify.ready()

    def looked(self) -> None:
        """And was answered, be it that there is no job."""
        self.ready()
        self._looked_at = time.monotonic()
        if not self._beats:
            self._beats = True
            self._beat()

    def _beat(self) -> None:
        if self.running or time.monotonic() - self._looked_at < self._silence:
            notify.heartbeat()
        asyncio.get_running_loop().call_later(_BEAT, self._beat)
