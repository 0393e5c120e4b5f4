"""A pool's backlog, out of those of its queues."""

from collections.abc import Sequence

from chaperone_async.attendant.reading import Figures

_COUNTS = ("ready", "delayed", "reserved", "failed")


def together(backlogs: Sequence[Figures]) -> Figures:
    """A count that is not known of one of them is not known of all."""
    counts = {name: _sum([backlog.get(name) for backlog in backlogs]) for name in _COUNTS}
    ages = [age for backlog in backlogs if (age := backlog.get("oldest_age")) is not None]
    dues = [due for backlog in backlogs if (due := backlog.get("next_due")) is not None]
    return {**counts, "oldest_age": max(ages, default=None), "next_due": min(dues, default=None)}


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None
