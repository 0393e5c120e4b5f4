"""The supervisor's end of the janitor: keeps one alive and tells it which sessions are workers'."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

from chaperone_async.system import janitor
from chaperone_async.system.kin import process_gone
from chaperone_async.system.sweep import Family

log = logging.getLogger(__name__)

RETRY = 1.0  # seconds before another try where the last janitor could not be started or died at once


_pipes: set[int] = set()
"""Writing ends. What is forked without a new program would keep them open after the supervisor's death."""


def _close_pipes() -> None:
    while _pipes:
        os.close(_pipes.pop())


os.register_at_fork(after_in_child=_close_pipes)


class JanitorLink:
    """`token` marks the environment of every worker of this supervisor life."""

    def __init__(self, token: str, family: Family) -> None:
        self._token = token
        self._family = family
        self._sessions: set[int] = set()
        self._untold = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe = -1

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def add(self, session: int) -> None:
        self._sessions.add(session)
        self._tell_soon(f"+{session}\n")

    def discard(self, session: int) -> None:
        self._sessions.discard(session)
        self._tell_soon(f"-{session}\n")

    def start(self) -> None:
        """Start a janitor with the whole register; it is not waited for. Raises OSError."""
        reader, writer = os.pipe()  # both closed on exec: no worker keeps the writing end open
        os.set_blocking(writer, False)
        self._untold = ""
        try:  # the register first: a supervisor killed in the middle of this start is covered too
            os.write(writer, "".join(f"+{session}\n" for session in self._sessions).encode())
            self._process = _start_shielded(self._token, reader)
        except OSError:
            os.close(writer)
            raise
        finally:
            os.close(reader)
        self._family.add(self._process.pid)
        self._pipe = writer
        _pipes.add(writer)

    async def keep(self) -> None:
        """For the supervisor's life: whenever the janitor has died, start another."""
        while True:
            if self._process is not None:
                await process_gone(self._process.pid)
                log.warning("the janitor died; starting another")
                self.close()
            try:
                self.start()
            except OSError as error:
                log.warning(
                    "cannot start the janitor: %s; workers would outlive a killed supervisor until it runs", error
                )
            await asyncio.sleep(RETRY)  # a floor under how often a janitor is started

    def close(self) -> None:
        """Kill and reap the janitor: nothing is left for it to do."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        self._family.discard(process.pid)
        _pipes.discard(self._pipe)
        os.close(self._pipe)
        self._pipe = -1

    def _tell_soon(self, line: str) -> None:
        """One write for all changes of a moment. A supervisor killed before it is covered by the mark in the workers'
        environment, as it is in the middle of a spawn."""
        if not self._untold:
            asyncio.get_running_loop().call_soon(self._tell)
        self._untold += line

    def _tell(self) -> None:
        """Less than a page is written whole or not at all; an empty pipe takes the register of 7,000 workers."""
        data, self._untold = self._untold.encode(), ""
        if self._process is None or not data:
            return
        try:
            written = os.write(self._pipe, data)
        except BrokenPipeError:
            return  # `keep` sees the death and starts another with the full register
        except BlockingIOError:
            written = 0
        if written < len(data):  # stopped, or stuck: another one will read
            self._process.kill()


def _start_shielded(token: str, reader: int) -> subprocess.Popen[bytes]:
    """With all signals blocked, which exec preserves: the janitor never sees one, from its first instruction."""
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "PATH") if name in os.environ}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(janitor.__file__).resolve()), token],
            stdin=reader,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",  # so that it holds no mount
            env=kept,  # nothing in it may look like a worker's
            start_new_session=True,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
