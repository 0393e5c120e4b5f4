"""Where failed jobs are: each list there is, by a queue and a pool that can be asked about it."""

from typing import TYPE_CHECKING, Any, NamedTuple

from chaperone_async.service.cli.options import MOST
from chaperone_async.service.cli.outcome import NotFoundError, QueueFailedError, UsageError, no_such_pool

if TYPE_CHECKING:
    from chaperone_async.service.cli.client import Client

Document = dict[str, Any]


class Place(NamedTuple):
    """The failed jobs of this queue, as this pool knows them. Two places may be the same list."""

    queue: str
    pool: str


def find_lists(client: "Client", pool: str | None, queue: str | None) -> list[Place]:
    """Where failed jobs may be. Raises NotFoundError."""
    rows = client.queues()["queues"]
    known = dict.fromkeys(name for row in rows for name in row["pools"])
    if pool is not None and pool not in known:
        raise NotFoundError(no_such_pool(pool, known))
    concerned = [row for row in rows if pool in {None, *row["pools"]}]
    queues = dict.fromkeys(name for row in concerned for name in row["queues"])
    if queue is not None and queue not in queues:
        raise NotFoundError(f"there is no queue {queue!r}; there are: {', '.join(queues) or 'none'}")
    found = [
        Place(name, each if pool is None else pool)
        for row in concerned
        for name in row["queues"]
        if queue in {None, name}
        for each in row["failed_lists"]
        if pool in {None, each} or pool not in row["failed_lists"]
    ]
    if found:
        return list(dict.fromkeys(found))
    if pool is None and queue is None:
        raise NotFoundError("there is no list of failed jobs: no pool has a backend that knows them")
    row = next(row for row in concerned if queue in {None, *row["queues"]})
    return [Place(queue or row["queues"][0], pool or row["pools"][0])]  # who is asked will say why he does not know


def find_job(client: "Client", places: list[Place], job: str) -> Place:
    """The list that it is in. Raises NotFoundError, QueueFailedError where it may be in one that cannot be read, and
    UsageError where there are several jobs of that id."""
    if len(places) == 1:
        return places[0]
    found, failures = list[tuple[Place, Document]](), list[str]()
    for place in places:
        try:
            found += [(place, each) for each in _having(client, place, job)]
        except (NotFoundError, QueueFailedError) as error:
            failures.append(f"queue {place.queue}: {error}")
    if not found and failures:
        raise QueueFailedError("\n".join(failures))
    if not found:
        raise NotFoundError(f"there is no failed job {job!r} among the newest {MOST} of each queue")
    if any(each != found[0][1] for _, each in found):
        where = ", ".join(f"{place.queue} (pool {place.pool})" for place, _ in found)
        raise UsageError(f"cannot tell which job {job!r} is meant: it is in {where}; give --queue, or --pool")
    return found[0][0]


def _having(client: "Client", place: Place, job: str) -> list[Document]:
    return [each for each in client.failed(place.queue, place.pool, MOST)["failed"] if each["id"] == job]
