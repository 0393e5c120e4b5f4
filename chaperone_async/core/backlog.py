"""What waits in a queue, as far as anybody can tell. None is unknown, never zero."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Combine = Literal["sum", "max"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """Counts of jobs. `ready`: anybody may take them now; `reserved`: a worker has them, taken in advance or in work;
    `oldest_age`: seconds that the longest waiting of the ready has waited; `next_due`: seconds until the first of the
    delayed becomes ready."""

    ready: int | None = None
    delayed: int | None = None
    reserved: int | None = None
    failed: int | None = None
    oldest_age: float | None = None
    next_due: float | None = None


def combine(backlogs: Sequence[Backlog], how: Combine) -> Backlog:
    """Of several sources of one pool. A count that one of them does not know, nobody knows; what is oldest, and what is
    due first, is so among all who tell."""
    add = sum if how == "sum" else max

    def count(values: Sequence[int | None]) -> int | None:
        known = [value for value in values if value is not None]
        return add(known) if known and len(known) == len(values) else None

    ages = [backlog.oldest_age for backlog in backlogs if backlog.oldest_age is not None]
    dues = [backlog.next_due for backlog in backlogs if backlog.next_due is not None]
    return Backlog(
        ready=count([backlog.ready for backlog in backlogs]),
        delayed=count([backlog.delayed for backlog in backlogs]),
        reserved=count([backlog.reserved for backlog in backlogs]),
        failed=count([backlog.failed for backlog in backlogs]),
        oldest_age=max(ages, default=None),
        next_due=min(dues, default=None),
    )
