"""Applications with an embedded queue, each in a directory of its own."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.backends.consumer import Application


@pytest.fixture
def application(tmp_path: Path) -> Callable[..., Application]:
    def make(tasks: str, options: str = "") -> Application:
        return Application(tmp_path, tasks, options=options)

    return make
