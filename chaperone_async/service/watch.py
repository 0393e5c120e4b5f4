"""Reloads that nobody waits for: those a signal asks for, and those that a change of the files is reason enough for."""

import traceback
from collections.abc import Awaitable, Callable

import anyio

from chaperone_async.service.reload import Reloader

EVERY = 1.0
"""Seconds between two looks at the files."""
FILES = "a change of its files"
AGAIN_AFTER = 10.0
"""Seconds after which what has failed is tried again."""
Tell = Callable[[str, str], None]


class Watch:
    """One reload at a time; whoever asks during one is served by the next. What fails otherwise than by the
    configuration, such as for want of a thread to read files in, is told, and does not end the supervisor."""

    def __init__(self, reloader: Reloader, tell: Tell) -> None:
        self._reloader = reloader
        self._tell = tell
        self._asked = anyio.Event()
        self._by: str | None = None

    def ask(self, by: str) -> None:
        self._by = by
        self._asked.set()

    async def serve(self) -> None:
        """Carries out what was asked for, until cancelled."""
        while True:
            await self._asked.wait()
            await self._surely(self._serve_one)

    async def look(self) -> None:
        """Asks when the files have changed, while the configuration wants them watched. Until cancelled."""
        while True:
            await anyio.sleep(EVERY)
            await self._surely(self._look_once)

    async def _serve_one(self) -> None:
        by, self._by, self._asked = self._by, None, anyio.Event()
        if by is not None:
            await self._reloader.reload_in_turn(by)
        elif await self._reloader.changed():  # still: another reload may have come before this one's turn
            await self._reloader.reload_in_turn(FILES)

    async def _look_once(self) -> None:
        if self._reloader.config.watch and await self._reloader.changed():
            self._asked.set()

    async def _surely(self, act: Callable[[], Awaitable[None]]) -> None:
        try:
            await act()
        except Exception:  # noqa: BLE001  whatever it is: a reload that failed must not take the workers with it
            self._tell("supervisor.broken", f"reloading failed: {traceback.format_exc()}")
            await anyio.sleep(AGAIN_AFTER)
