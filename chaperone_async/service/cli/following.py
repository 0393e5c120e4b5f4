"""Following a stream of the supervisor: through broken connections and its restarts, until it is gone for good."""

import json
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from chaperone_async.service.cli.client import Client
from chaperone_async.service.cli.outcome import RefusedError, UnreachableError

DELAYS = (0.2, 0.5, 1.0, 2.0, 4.0)
"""Seconds before each new try. After the last one it is gone."""
LASTING = 10.0
"""Seconds after which a connection has been a good one, even where nothing has happened: proxies cut off quiet ones."""


class Message(NamedTuple):
    kind: str
    data: dict[str, Any]


def follow(client: Client, path: str) -> Iterator[Message]:
    """To the stream's own end. What is to be known of the following itself goes to stderr.

    Raises UnreachableError when nobody answers any more, and what Client raises where it cannot begin.
    """
    reader = _Reader()
    tries = 0
    while True:
        why, begun_at = "it was closed", time.monotonic()
        try:
            for message in reader.read(client.stream(path, reader.last_id)):
                tries = 0
                match message.kind:
                    case "stream.ended":
                        return
                    case "stream.dropped":
                        why = message.data["why"]
                    case "stream.gap":
                        _say(f"something is missing here: {message.data['why']}")
                    case _:
                        yield message
        except (UnreachableError, RefusedError) as error:  # refused: a unix socket whose owner is just starting
            if not reader.began:
                raise
            why = str(error)
        if reader.heard and time.monotonic() - begun_at > LASTING:
            tries = 0
        if tries == len(DELAYS):
            raise UnreachableError(f"the supervisor is gone: {why}")
        if not tries:
            _say(f"the connection is broken: {why}; trying again")
        time.sleep(DELAYS[tries])
        tries += 1


def _say(what: str) -> None:
    print(f"chaperone: {what}", file=sys.stderr, flush=True)


class _Reader:
    """Reads server-sent events, of one connection after the other. `heard`: the latest has said something."""

    def __init__(self) -> None:
        self.began = self.heard = False
        self.last_id = ""

    def read(self, lines: Iterable[str]) -> Iterator[Message]:
        kind, data, number, self.heard = "message", "", self.last_id, False
        for line in lines:
            self.began = self.heard = True
            name, _, value = line.partition(": ")
            if name == "id":
                number = value
            elif name == "event":
                kind = value
            elif name == "data":
                data += value
            elif not line:
                self.last_id = number  # not before: what is cut off here has not been read
                if data:
                    yield Message(kind, json.loads(data))
                kind, data = "message", ""
