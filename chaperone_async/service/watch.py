"""Reloads that nobody waits for: those a signal asks for, and those that a change of the files is reason enough for."""

import anyio

from chaperone_async.service.reload import Reloader

EVERY = 1.0
"""Seconds between two looks at the files."""
FILES = "a change of its files"


class Watch:
    """One reload at a time; whoever asks during one is served by the next."""

    def __init__(self, reloader: Reloader) -> None:
        self._reloader = reloader
        self._asked = anyio.Event()
        self._by: str | None = None

    def ask(self, by: str) -> None:
        self._by = by
        self._asked.set()

    async def serve(self) -> None:
        """Carries out what was asked for, until cancelled."""
        while True:
            await self._asked.wait()
            by, self._by, self._asked = self._by, None, anyio.Event()
            if by is not None:
                await self._reloader.reload_in_turn(by)
            elif await self._reloader.changed():  # still: another reload may have come before this one's turn
                await self._reloader.reload_in_turn(FILES)

    async def look(self) -> None:
        """Asks when the files have changed, while the configuration wants them watched. Until cancelled."""
        while True:
            await anyio.sleep(EVERY)
            if self._reloader.config.watch and await self._reloader.changed():
                self._asked.set()
