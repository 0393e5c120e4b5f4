"""What test jobs do: they note in a file what they have done, and wait for what a test allows."""

import os
import signal
import time
from pathlib import Path
from typing import Any


def note(place: str, what: object) -> None:
    """In one write: several processes do it at the same time."""
    with (Path(place) / "done").open("ab", buffering=0) as file:
        file.write(f"{what}\n".encode())


def work(place: str, what: object, seconds: float = 0.0) -> None:
    time.sleep(seconds)
    note(place, what)


def hold(place: str, what: str) -> None:
    """Until the file of that name is there."""
    note(place, f"{what}-began")
    while not (Path(place) / what).exists():
        time.sleep(0.005)
    note(place, f"{what}-ended")


def fail(place: str, what: str) -> None:
    """Unless the file of that name is there."""
    if not (Path(place) / what).exists():
        raise RuntimeError(f"no {what} here, in process {os.getpid()}")
    note(place, what)


def die(_place: str, _what: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def failed(job: Any, *_: object) -> None:
    """A callback of RQ."""
    note(job.args[0], "failed")


def done(place: Path) -> list[str]:
    try:
        return (place / "done").read_text().split()
    except FileNotFoundError:
        return []
