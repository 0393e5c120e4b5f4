"""A number that a program prints: the first word of its output. It runs as the pool's workers do, as a process group of
its own, which is gone when the reading is over, however that ended."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from selectors import EVENT_READ, DefaultSelector

from chaperone_async.attendant import Unavailable
from chaperone_async.attendant.reading import Figures, Settings, figures

_LONGEST = 1 << 16  # bytes of output
_PIECE = 1 << 14


class Failed(Unavailable):
    """It has ended with another exit code than 0."""


def reader(settings: Settings, limit: float) -> Callable[[], Figures]:
    argv = [str(word) for word in settings["argv"]]
    return lambda: figures(_first_word(argv[0], run(argv, limit)))


def _first_word(program: str, output: bytes) -> str:
    words = output.split(maxsplit=1)
    if not words:
        raise Unavailable(f"{program} has printed nothing; a number is wanted")
    return words[0].decode(errors="replace")


def run(argv: list[str], limit: float, longest: int = _LONGEST) -> bytes:
    """What it prints. Raises Unavailable if it fails, takes too long, or prints more than so many bytes."""
    deadline = time.monotonic() + limit
    try:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, process_group=0
        )
    except OSError as error:
        raise Unavailable(f"cannot run {argv[0]}: {error.strerror}") from error
    with process:
        try:
            output, complaints = _read(process, argv[0], deadline, longest)
            code = process.wait(max(0.0, deadline - time.monotonic()))
        except (subprocess.TimeoutExpired, TimeoutError):
            raise Unavailable(f"{argv[0]} has not ended within {limit:g} s") from None
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
    if code != 0:
        raise Failed(f"{argv[0]} {_ending(code)}{_last_line(complaints)}")
    return output


def _read(process: "subprocess.Popen[bytes]", program: str, deadline: float, longest: int) -> tuple[bytes, bytes]:
    """Both its outputs, until nobody writes to them any more."""
    assert process.stdout is not None  # noqa: S101  for the type checker
    assert process.stderr is not None  # noqa: S101  likewise
    output, complaints = bytearray(), bytearray()
    with DefaultSelector() as selector:
        selector.register(process.stdout, EVENT_READ, output)
        selector.register(process.stderr, EVENT_READ, complaints)
        while selector.get_map():
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError
            for key, _ in ready:
                piece = os.read(key.fd, _PIECE)
                key.data.extend(piece)
                if not piece:
                    selector.unregister(key.fileobj)
            if len(output) > longest:
                raise Unavailable(f"{program} prints more than {longest >> 10} KB")
            del complaints[:-_PIECE]
    return bytes(output), bytes(complaints)


def _ending(code: int) -> str:
    return f"has ended with exit code {code}" if code >= 0 else f"was killed by signal {-code}"


def _last_line(complaints: bytes) -> str:
    lines = complaints.decode(errors="replace").split("\n")
    said = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f": {said}" if said else ""
