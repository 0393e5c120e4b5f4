"""The floor: keep N copies of a program running with `create_subprocess_exec`, and do nothing else.

python floor.py N PROGRAM ARGUMENTS... — SIGTERM is passed on, and it ends when all are gone.
"""

import asyncio
import os
import signal
import sys


class Floor:
    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._alive: set[int] = set()
        self._stopping = asyncio.Event()

    async def keep_one(self) -> None:
        while not self._stopping.is_set():
            child = await asyncio.create_subprocess_exec(*self._command)
            self._alive.add(child.pid)
            if self._stopping.is_set():  # it was being started while the others were told
                child.terminate()
            await child.wait()
            self._alive.discard(child.pid)

    def stop(self) -> None:
        self._stopping.set()
        for pid in self._alive:
            os.kill(pid, signal.SIGTERM)


async def main(count: int, command: list[str]) -> None:
    loop = asyncio.get_running_loop()
    if sys.version_info < (3, 12):  # from there on pidfd is the default; before, it was a thread for each child
        watcher = asyncio.PidfdChildWatcher()
        watcher.attach_loop(loop)
        asyncio.set_child_watcher(watcher)
    floor = Floor(command)
    loop.add_signal_handler(signal.SIGTERM, floor.stop)
    async with asyncio.TaskGroup() as slots:
        for _ in range(count):
            slots.create_task(floor.keep_one())


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2:]))
