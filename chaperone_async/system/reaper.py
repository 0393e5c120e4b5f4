"""Reaps what nobody waits for: as PID 1 or a subreaper this process inherits orphans that are no worker's.

Never `waitpid(-1)`: that steals statuses others wait for. Only a zombie that is none of our own, is of another session
than ours (a subprocess of the user's own code is for that code to reap), and was a zombie a whole round before.
"""

import asyncio
import os
from collections.abc import Callable

from chaperone_async.system.janitor import read_stat
from chaperone_async.system.kin import own_children, reap
from chaperone_async.system.sweep import Family

LAST_CHANCE = 0.01  # seconds; a zombie somebody waits for is gone long before


class Reaper:
    def __init__(self, family: Family) -> None:
        self._family = family
        self._session = os.getsid(0)
        self._seen: set[int] = set()

    def reap_strangers(self) -> None:
        if self._family.in_flight:  # a newborn that died at once looks like a stranger's zombie
            return
        zombies = {pid for pid in self._family.strangers(own_children()) if self._is_zombie(pid)}
        self._seen = {pid for pid in zombies if not (pid in self._seen and reap(pid))}

    async def reap_the_last(self) -> None:
        """Before the supervisor stops looking: those whose time to be reaped by another has not come yet included."""
        self.reap_strangers()
        if self._seen:
            await asyncio.sleep(LAST_CHANCE)
            self.reap_strangers()

    async def run(self, interval: float, also: Callable[[], None]) -> None:
        """Every `interval` seconds, together with `also`: one wake-up for both."""
        while True:
            await asyncio.sleep(interval)
            self.reap_strangers()
            also()

    def _is_zombie(self, pid: int) -> bool:
        stat = read_stat(pid)
        return stat is not None and stat[2] == "Z" and stat[1] != self._session
