"""A child process, waited for through a pidfd: no thread, no transport, and no turn of the event loop for its start."""

import asyncio
import errno
import os
from subprocess import Popen
from threading import Thread

STOLEN = 255  # the code of a child whose status somebody else has collected, as in asyncio


class Process:
    """`popen` has just been started. Raises OSError, and leaves no process, when descriptors have run out."""

    __slots__ = ("_ended", "_pidfd", "_popen", "pid")

    def __init__(self, popen: "Popen[bytes]") -> None:
        self.pid = popen.pid
        self._popen = popen
        self._ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        try:
            pidfd = _open_pidfd(popen.pid)
        except OSError:
            popen.kill()
            popen.wait()
            raise
        if pidfd is None:
            Thread(target=self._wait_in_thread, args=(loop,), name=f"waits for {popen.pid}", daemon=True).start()
        else:
            self._pidfd = pidfd
            loop.add_reader(pidfd, self._reap)

    @property
    def returncode(self) -> int | None:
        """None while it runs; negative for a signal."""
        return self._popen.returncode

    async def wait(self) -> int:
        await self._ended.wait()
        returncode: int = self._popen.returncode
        return returncode

    def _reap(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._collect()
        self._ended.set()

    def _collect(self) -> None:
        try:
            _, status = os.waitpid(self.pid, 0)
        except ChildProcessError:
            self._popen.returncode = STOLEN
        else:
            self._popen.returncode = os.waitstatus_to_exitcode(status)

    def _wait_in_thread(self, loop: asyncio.AbstractEventLoop) -> None:
        self._collect()
        loop.call_soon_threadsafe(self._ended.set)


def _open_pidfd(pid: int) -> int | None:
    """None where the system has none, or does not let us."""
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EPERM):
            return None
        raise
