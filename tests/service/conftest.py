"""Real sockets; no child outlives its test."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def children() -> Iterator[str]:
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError):  # a thread that has just ended
            yield from (task / "children").read_text().split()


@pytest.fixture(autouse=True)
def no_child_left() -> Iterator[None]:
    yield
    left = list(children())
    assert not left, [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in left if os.path.exists(f"/proc/{pid}")]
