"""How fast a queue fills and empties, from looks at it: what has come must be what has ended and what there is more."""

from dataclasses import dataclass

WINDOW = 60.0
"""Seconds that a rate looks back; further where looks are rarer."""
_APART = 0.5  # seconds between looks that are kept: a queue that is looked at all the time needs no more memory


@dataclass(frozen=True, slots=True)
class Look:
    """`held`: jobs that wait or are in work. `ended`: so far, as workers tell; None: they do not."""

    at: float
    held: int
    ended: int | None


@dataclass(frozen=True, slots=True)
class Flow:
    """A minute. None is unknown, never zero. `growth`: of what waits or is in work; below zero it shrinks."""

    growth: float | None = None
    completions: float | None = None


def follow(looks: tuple[Look, ...], look: Look) -> tuple[Look, ...]:
    """Those of the window, and the last one before it. What was counted anew in between cannot be compared."""
    if looks and _begun_anew(looks[-1], look):
        return (look,)
    if len(looks) > 1 and looks[-1].at - looks[-2].at < _APART:
        looks = looks[:-1]
    first = next((i for i, each in enumerate(looks) if each.at > look.at - WINDOW), len(looks))
    return (*looks[max(0, first - 1) :], look)


def _begun_anew(before: Look, now: Look) -> bool:
    if before.ended is None or now.ended is None:
        return before.ended is not now.ended
    return now.ended < before.ended


def flow(looks: tuple[Look, ...]) -> Flow:
    """From the first to the last: between two that are close, when each was counted makes more of a difference."""
    if len(looks) < 2 or looks[-1].at <= looks[0].at:
        return Flow()
    first, last = looks[0], looks[-1]
    minutes = (last.at - first.at) / 60
    growth = (last.held - first.held) / minutes
    if first.ended is None or last.ended is None:
        return Flow(growth)
    return Flow(growth, (last.ended - first.ended) / minutes)


def arrivals(growth: float | None, completions: float | None) -> float | None:
    """A minute. A queue that was emptied by hand looks as if less had come."""
    return None if growth is None or completions is None else max(0.0, growth + completions)


def time_to_clear(waiting: int | None, completions: float | None) -> float | None:
    """Seconds until what waits now is done, at this pace. None: unknown, or nothing is being done."""
    if waiting == 0:
        return 0.0
    return waiting * 60 / completions if waiting and completions else None
