"""Starting a worker with resource limits, through a small program of ours that then becomes the worker: shim.py."""

import asyncio
import marshal
import os
import resource
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from chaperone_async.core.spec import Launch
from chaperone_async.system import shim
from chaperone_async.system.diagnosis import explain
from chaperone_async.system.environment import Identity
from chaperone_async.system.janitor import TOKEN_VARIABLE
from chaperone_async.system.launch import nice_refused, start_process
from chaperone_async.system.ports import SpawnError

_KEPT = (b"LD_LIBRARY_PATH", b"PATH", TOKEN_VARIABLE.encode())  # the janitor knows the shim by its mark, too

_SHIM = str(Path(shim.__file__).resolve())


class Errand:
    """A start under way: a process exists, and is yet to become the worker."""

    def __init__(
        self, channel: socket.socket, order: bytes, program: str, launch: Launch, environment: dict[bytes, bytes]
    ) -> None:
        self._channel = channel
        self._order = order
        self._program = program
        self._launch = launch
        self._environment = environment

    async def carry_out(self) -> None:
        """Until the worker's own program runs. Raises SpawnError; then the process ends by itself."""
        loop = asyncio.get_running_loop()
        answer = b""
        with self._channel as channel:
            try:
                await loop.sock_sendall(channel, self._order)
                channel.shutdown(socket.SHUT_WR)
                while chunk := await loop.sock_recv(channel, 4096):
                    answer += chunk
            except ConnectionError:
                answer = b""
        if answer == shim.GOING:
            return
        if not answer:
            raise SpawnError(f"cannot run {self._program!r}: what was to set its limits was killed; try again")
        step, which, number, words = marshal.loads(answer.removeprefix(shim.GOING))  # noqa: S302  from our own program
        raise self._explain(step, which, number, words)

    def _explain(self, step: str, which: int, number: int, words: str) -> SpawnError:
        match step:
            case "nice":
                return nice_refused(self._launch)
            case "limit":
                name, value = self._launch.rlimits[which]
                return SpawnError(
                    f"cannot set rlimit {name!r} to {value}: {words}; stay within the supervisor's own limits"
                )
            case "user":
                error: OSError | ValueError = OSError(number, os.strerror(number))
            case _:
                error = OSError(number, os.strerror(number), self._program) if number else ValueError(words)
        return explain(error, self._program, self._launch, self._environment)


async def start_limited(
    argv: Sequence[str], launch: Launch, identity: Identity, environment: dict[bytes, bytes], output: int
) -> tuple[Process, Errand]:
    """As `start_process`. Raises SpawnError, for a limit that this system does not have too."""
    switched = identity.switch and launch.user is not None
    order: shim.Order = (
        [os.fsencode(word) for word in argv],
        environment,
        [(_number(name), value) for name, value in launch.rlimits],
        launch.nice,
        identity.gid if identity.switch else None,
        identity.groups if switched else None,
        identity.uid if switched else None,
    )
    kept = {name: environment[name] for name in _KEPT if name in environment}
    try:
        ours, theirs = socket.socketpair()
    except OSError as error:
        raise explain(error, argv[0], launch, environment) from error
    with theirs:
        try:
            process = await start_process(
                [sys.executable, "-I", "-S", _SHIM, str(theirs.fileno())],
                launch, replace(identity, switch=False), kept, output, passing=(theirs.fileno(),),
            )  # fmt: skip
        except BaseException:
            ours.close()
            raise
    ours.settimeout(0)  # it is the event loop that waits
    return process, Errand(ours, marshal.dumps(order), argv[0], launch, environment)


def _number(name: str) -> int:
    number: int | None = getattr(resource, f"RLIMIT_{name.upper()}", None)
    if number is None:
        known = ", ".join(sorted(word[7:].lower() for word in dir(resource) if word.startswith("RLIMIT_")))
        raise SpawnError(f"cannot set rlimit {name!r}: no such limit; valid are {known}")
    return number
