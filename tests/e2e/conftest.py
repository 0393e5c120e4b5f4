"""Services that are started in a test, and seen off after it."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from textwrap import dedent

import pytest

from tests.e2e.service import Launch, Script, Service


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """Writes a worker's program."""

    def write(name: str, source: str) -> Path:
        path = tmp_path / f"{name}.py"
        path.write_text(dedent(source))
        return path

    return write


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    """Starts a supervisor and waits until `probe` passes; None: does not wait."""
    with ExitStack() as services:

        def start(
            pools: str, *, head: str = "", probe: str | None = "/startupz", place: str = ".", **settings: str
        ) -> Service:
            """`place`: its own directory, where there are several."""
            (tmp_path / place).mkdir(exist_ok=True)
            service = Service(tmp_path / place, dedent(pools), head=dedent(head), **settings)
            services.enter_context(service).start()
            return service if probe is None else service.until_up(probe)

        yield start
