"""One pool's part of the list of failed jobs that we keep, as a `PoolQueue` tells of it. To retry a job is to send it
once more, through its own library."""

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import anyio

from chaperone_async.errors import QueueError, QueueUnavailable
from chaperone_async.system.failed_file import Failure
from chaperone_async.system.failed_jobs import FailedJobs
from chaperone_async.system.ports import FailedJob, FailedPage, JobNotice

RETRY_TIME = 60.0
"""Seconds that sending jobs again may take, all together."""
_NOT_KEPT = "not kept: too long, or not JSON"


class Again(NamedTuple):
    """What it takes to send a job."""

    name: str
    args: list[Any]
    kwargs: dict[str, Any]
    queue: str


Send = Callable[[Again], Awaitable[object]]
"""Through the pool's attendant. Raises QueueError."""


class Recorded:
    """`queues`: the pool's. What is said to have been in none of them is told of with the first."""

    can: ClassVar = frozenset({"failed", "retry", "flush"})

    def __init__(self, pool: str, queues: Sequence[str], failed_jobs: FailedJobs, send: Send) -> None:
        self._pool, self._queues, self._jobs, self._send = pool, queues, failed_jobs, send
        self._retrying = anyio.Lock()

    def note(self, notice: JobNotice) -> None:
        told = notice.queue
        self._jobs.note(self._pool, told if told is not None and told in self._queues else self._queues[0], notice)

    async def count(self) -> int:
        return await self._jobs.count(self._pool)

    async def page(self, queue: str, limit: int, after: str | None) -> FailedPage:
        found = await self._jobs.page(self._pool, queue, limit + 1, after)
        if found is None:
            raise QueueError(f"cannot go on after the job {after!r}: it is not in the list any more; begin again")
        shown = found[:limit]
        return FailedPage(tuple(map(_told, shown)), shown[-1].id if len(found) > limit else None, recorded_by_us=True)

    async def flush(self, queue: str, ids: Sequence[str] | None) -> int:
        return await self._jobs.remove(self._pool, queue, ids)

    async def retry(self, queue: str, ids: Sequence[str] | None) -> int:
        """How many were sent: these are in the list no more. One that cannot be sent stays."""
        sent = 0
        async with self._retrying:  # nothing is sent twice by two who ask at the same time
            jobs = await self._jobs.find(self._pool, queue, ids)
            ready = [(job.id, again) for job in jobs if (again := _again(job)) is not None]
            if jobs and not ready:
                raise QueueError(
                    f"cannot retry the job {jobs[0].id!r}: its arguments were {_NOT_KEPT}; "
                    "send it again from the application"
                )
            try:
                with anyio.fail_after(RETRY_TIME):
                    for job_id, again in ready:
                        await self._send(again)
                        sent += 1
                        with anyio.CancelScope(shield=True):
                            await self._jobs.remove(self._pool, queue, [job_id])
            except (QueueError, TimeoutError) as error:
                kind = type(error) if isinstance(error, QueueError) else QueueUnavailable
                why = str(error) or f"it takes longer than {RETRY_TIME:g} s"
                raise kind(f"{why}; {sent} of {len(ready)} were sent before, the others stay in the list") from error
        return sent


def _again(job: Failure) -> Again | None:
    """None: too little of it is known."""
    if job.name is None or job.arguments is None:
        return None
    try:
        told = json.loads(job.arguments)
    except (ValueError, RecursionError):  # nested a thousand times
        return None
    if not isinstance(told, dict):
        return None
    args, kwargs, queue = told.get("args") or [], told.get("kwargs") or {}, told.get("queue") or job.queue
    if not isinstance(args, list) or not isinstance(kwargs, dict) or not isinstance(queue, str):
        return None
    return Again(job.name, args, kwargs, queue)


def _told(job: Failure) -> FailedJob:
    again = _again(job)
    if again is None:
        arguments = _NOT_KEPT
    else:
        named = (f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in again.kwargs.items())
        arguments = ", ".join([*(json.dumps(value, ensure_ascii=False) for value in again.args), *named])
    return FailedJob(
        id=job.id, queue=job.queue, name=job.name, arguments=arguments, error=job.error, at=job.at,
        attempts=job.attempts,
    )  # fmt: skip
