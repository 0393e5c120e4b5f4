"""What the jobs of asynchronous libraries do; see `work`."""

import asyncio
from pathlib import Path

from tests.backends.apps.work import fail, note

__all__ = ["failing", "holding", "working"]


async def working(place: str, what: object) -> None:
    note(place, what)


async def holding(place: str, what: str) -> None:
    """Until the file of that name is there."""
    note(place, f"{what}-began")
    while not (Path(place) / what).exists():
        await asyncio.sleep(0.01)
    note(place, f"{what}-ended")


async def failing(place: str, what: str) -> None:
    """Unless the file of that name is there."""
    fail(place, what)
