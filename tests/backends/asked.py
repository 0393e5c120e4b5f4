"""An attendant as a process of its own, asked over its socket as the supervisor does it."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.e2e.service import PATIENCE, ROOT


class Refused(Exception):
    """What it says instead."""


class Attendant:
    """`timeout`: seconds that a sample may take. What is asked for together is answered side by side."""

    def __init__(self, connection: socket.socket, timeout: float = 5.0) -> None:
        self._connection = connection
        self._lines = connection.makefile("r")
        self._last = 0
        self.timeout = timeout

    def backlog(self, kind: str, address: str, **options: Any) -> Any:
        (answer,) = self.ask([{"kind": kind, "address": address, "timeout": self.timeout, **options}])
        return _value(answer)

    def refusal(self, kind: str, address: str, **options: Any) -> str:
        """What it says where there is nothing to be had."""
        try:
            value = self.backlog(kind, address, **options)
        except Refused as error:
            return str(error)
        raise AssertionError(f"it has told {value}")

    def call_for(self, path: str, **sample: Any) -> Any:
        settings = {"kind": "scaling", "address": path, "timeout": self.timeout}
        (answer,) = self.ask([settings], "call_for", sample=sample)
        return _value(answer)

    def ask(
        self, settings: list[dict[str, Any]], call: str = "backlog", module: str = "sources", **arguments: Any
    ) -> list[dict[str, Any]]:
        """The answers, in the order of the questions."""
        first = self._last + 1
        for number, one in enumerate(settings, first):
            question = {"id": number, "module": f"chaperone_async.attendant.{module}", "settings": one, "call": call}
            told = arguments or {"queues": ["emails"]}
            self._connection.sendall(json.dumps({**question, "with": told}).encode() + b"\n")
        self._last += len(settings)
        answers = [json.loads(self._lines.readline()) for _ in settings]
        return sorted(answers, key=lambda answer: int(answer["id"]))


def _value(answer: dict[str, Any]) -> Any:
    if "value" in answer:
        return answer["value"]
    assert answer["unavailable"], answer
    raise Refused(answer["error"])


@contextmanager
def attending(directory: Path, **env: str) -> Iterator[Attendant]:
    ours, theirs = socket.socketpair()
    ours.settimeout(PATIENCE)
    process = subprocess.Popen(
        [sys.executable, "-m", "chaperone_async.attendant", str(theirs.fileno())], cwd=directory,
        pass_fds=[theirs.fileno()], env={**os.environ, "PYTHONPATH": str(ROOT), **env}, stdin=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    theirs.close()
    attendant = Attendant(ours)
    try:
        yield attendant
    finally:
        attendant._lines.close()
        ours.close()
        assert process.wait(PATIENCE) == 0
