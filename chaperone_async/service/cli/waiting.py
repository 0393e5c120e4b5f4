"""What becomes of operations that were begun: told as it changes, and at the end as it is."""

import time
from math import inf
from typing import TYPE_CHECKING, Any, TextIO

from chaperone_async.errors import ChaperoneError
from chaperone_async.service.cli.table import printable

if TYPE_CHECKING:
    from chaperone_async.service.cli.client import Client

Document = dict[str, Any]
FIRST_LOOK, LOOK = 0.1, 0.5
"""Seconds between two looks at what is still waited for. An end is told at once."""


class UnfulfilledError(ChaperoneError):
    """What was asked for has failed, or has not ended in time."""


class Progress:
    """On a terminal one line that is rewritten; elsewhere a line for each change."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._rewritten = stream.isatty()
        self._last = ""

    def tell(self, line: str) -> None:
        line = printable(line)
        if line == self._last:
            return
        self._last = line
        if self._rewritten:
            import shutil

            width = shutil.get_terminal_size().columns - 1
            self._stream.write(f"\r\x1b[K{line[:width]}")
        else:
            self._stream.write(f"{line}\n")
        self._stream.flush()

    def clear(self) -> None:
        if self._rewritten and self._last:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
        self._last = ""


def wait_for_all(client: "Client", begun: list[Document], limit: float | None, progress: Progress) -> list[Document]:
    """As they are in the end, or when `limit` seconds have passed. Raises UnfulfilledError when nobody reads on."""
    deadline = time.monotonic() + (inf if limit is None else limit)
    try:
        return [_wait(client, operation, deadline, progress) for operation in begun]
    except BrokenPipeError:  # `| head`: unlike a list, what goes on is not seen by having read a part of it
        advice = "what was begun goes on, see `chaperone operations`"
        raise UnfulfilledError(f"waited no longer, for nobody reads how it goes; {advice}") from None


def _wait(client: "Client", operation: Document, deadline: float, progress: Progress) -> Document:
    """Looked at once in any case: it may have ended while others were waited for."""
    look, left = FIRST_LOOK, inf
    while operation["state"] == "running" and left > 0:
        left = max(0.0, deadline - time.monotonic())
        operation = client.operation(operation["id"], wait=min(look, left))
        look = LOOK
        if operation["state"] == "running" and operation["detail"]:
            progress.tell(f"{title(operation)}: {operation['detail']}")
    progress.clear()
    return operation


def title(operation: Document) -> str:
    return f"{operation['action']} {operation['target']}"


def tell_begun(operations: list[Document], stream: TextIO | None = None) -> None:
    for operation in operations:
        detail = f": {operation['detail']}" if operation["detail"] else ""
        print(printable(f"{title(operation)}: begun, operation {operation['id']}{detail}"), file=stream)


def tell_ends(operations: list[Document], *, quiet: bool) -> None:
    """Raises UnfulfilledError unless all are done. `quiet`: of what is done nothing is said."""
    unfulfilled = []
    for operation in operations:
        detail = f": {operation['detail']}" if operation["detail"] else ""
        match operation["state"]:
            case "done" if quiet:
                continue
            case "done":
                print(printable(f"{title(operation)}: done{detail}"))
            case "failed":
                unfulfilled.append(f"{title(operation)} failed{detail}")
            case _:
                advice = f"it goes on, see `chaperone operations {operation['id']}`"
                unfulfilled.append(f"{title(operation)} has not ended in time{detail}; {advice}")
    if unfulfilled:
        raise UnfulfilledError("\n".join(map(printable, unfulfilled)))
