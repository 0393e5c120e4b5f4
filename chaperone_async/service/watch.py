"""Reloads that nobody waits for: those a signal asks for, and those that a change of the files is reason enough for."""

from collections.abc import Callable

import anyio
from anyio import to_thread

from chaperone_async.service.reload import Reloader

EVERY = 1.0
"""Seconds between two looks at the files."""
Fingerprint = Callable[[], str]


class Watch:
    """One reload at a time; whoever asks during one is served by the next."""

    def __init__(self, reloader: Reloader, fingerprint: Fingerprint) -> None:
        self._reloader = reloader
        self._fingerprint = fingerprint
        self._asked = anyio.Event()
        self._by = ""

    def ask(self, by: str) -> None:
        self._by = by
        self._asked.set()

    async def serve(self) -> None:
        """Carries out what was asked for, until cancelled."""
        while True:
            await self._asked.wait()
            self._asked = anyio.Event()
            await self._reloader.reload_in_turn(self._by)

    async def look(self) -> None:
        """Asks when the files have changed, while the configuration wants them watched. Until cancelled."""
        seen = await to_thread.run_sync(self._fingerprint)
        while True:
            await anyio.sleep(EVERY)
            if not self._reloader.config.watch:
                continue
            now = await to_thread.run_sync(self._fingerprint)
            if now != seen:
                seen = now
                self.ask("a change of its files")
