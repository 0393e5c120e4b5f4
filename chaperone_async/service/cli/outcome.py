"""What a command ends with: its exit code, and for a failure one line on stderr for each thing that is wrong."""

import os
import sys
from collections.abc import Callable, Iterable
from errno import EDQUOT, ENOSPC
from io import TextIOWrapper
from typing import TextIO

from chaperone_async.errors import ChaperoneError, ConfigError

DONE, NO, BAD_USAGE, UNREACHABLE, REFUSED, INTERRUPTED = 0, 1, 2, 3, 4, 130


class UsageError(ChaperoneError):
    """What was typed, or is in the environment, cannot be used."""


class NotFoundError(ChaperoneError):
    """The supervisor answered, and there is no such thing."""


class UnreachableError(ChaperoneError):
    """Nobody answered, or not as a supervisor does."""


class QueueFailedError(ChaperoneError):
    """The supervisor is there, and a queue that it asked is not, or says no."""


class RefusedError(ChaperoneError):
    """The supervisor is there, and this is not allowed."""


_CODES: tuple[tuple[type[ChaperoneError], int], ...] = (
    (UsageError, BAD_USAGE),
    (ConfigError, BAD_USAGE),
    (UnreachableError, UNREACHABLE),
    (RefusedError, REFUSED),
)


def settle(command: Callable[[], int]) -> int:
    """Run to the exit code. An exception that gets past this is a bug of ours."""
    if sys.stdout is None:  # closed by `>&-`
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if isinstance(sys.stdout, TextIOWrapper):  # $PYTHONUNBUFFERED would have a broken pipe end the command itself
        sys.stdout.reconfigure(write_through=False)
    code = None
    try:
        code = _answer(command)
        sys.stdout.flush()
    except BrokenPipeError:  # `| head` has seen enough
        _forget(sys.stdout)
        return DONE if code is None else code
    except OSError as error:
        if error.errno not in {ENOSPC, EDQUOT} or error.filename is not None:
            raise
        _complain(f"cannot write the output: {str(error.strerror).lower()}")
        _forget(sys.stdout)
        return code or NO
    except KeyboardInterrupt:
        return INTERRUPTED
    return code


def _answer(command: Callable[[], int]) -> int:
    try:
        return command()
    except ChaperoneError as error:
        for line in str(error).splitlines():
            _complain(line)
        return next((code for kind, code in _CODES if isinstance(error, kind)), NO)
    except UnicodeEncodeError as error:
        if not any(error.object in word for word in sys.argv):
            raise
        _complain(f"cannot ask for {error.object!r}: names and ids are UTF-8, and it is not")
        return BAD_USAGE
    except KeyboardInterrupt:
        return INTERRUPTED


def _complain(line: str) -> None:
    try:
        print(f"chaperone: {line}", file=sys.stderr)
    except BrokenPipeError:  # `2>&1 | head`: the exit code still tells
        _forget(sys.stderr)


def _forget(stream: TextIO) -> None:
    """What is still buffered would fail once more when the interpreter ends."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


def no_such_pool(name: str, names: Iterable[str]) -> str:
    known = ", ".join(names)
    return f"there is no pool named {name!r}; " + (f"there are: {known}" if known else "there are none")
