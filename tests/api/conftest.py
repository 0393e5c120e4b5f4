"""The Python API on real processes; no child outlives its test."""

from collections.abc import Iterator

import pytest

from tests.api.world import has_children


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def no_child_left() -> Iterator[None]:
    yield
    assert not has_children()
