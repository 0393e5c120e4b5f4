"""What a command ends with: its exit code, and for a failure one line on stderr for each thing that is wrong."""

import os
import sys
from collections.abc import Callable, Iterable
from errno import EDQUOT, ENOSPC
from io import TextIOWrapper

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
    try:
        code = command()
        sys.stdout.flush()
    except ChaperoneError as error:
        for line in str(error).splitlines():
            print(f"chaperone: {line}", file=sys.stderr)
        return next((code for kind, code in _CODES if isinstance(error, kind)), NO)
    except UnicodeEncodeError as error:
        if not any(error.object in word for word in sys.argv):
            raise
        print(f"chaperone: cannot ask for {error.object!r}: names and ids are UTF-8, and it is not", file=sys.stderr)
        return BAD_USAGE
    except BrokenPipeError:  # `| head` has seen enough
        _forget_stdout()
        return DONE
    except OSError as error:
        if error.errno not in {ENOSPC, EDQUOT} or error.filename is not None:
            raise
        print(f"chaperone: cannot write the output: {str(error.strerror).lower()}", file=sys.stderr)
        _forget_stdout()
        return NO
    except KeyboardInterrupt:
        return INTERRUPTED
    return code


def _forget_stdout() -> None:
    """What is still buffered would fail once more when the interpreter ends."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def no_such_pool(name: str, names: Iterable[str]) -> str:
    known = ", ".join(names)
    return f"there is no pool named {name!r}; " + (f"there are: {known}" if known else "there are none")
