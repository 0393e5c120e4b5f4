"""The settings for `saq chaperone_async.agent.saq.settings`: the application's own, and what tells the supervisor when
the worker takes jobs, of its jobs, and that its loop is alive.

Asked to stop, SAQ waits for whatever it has under way, be it only its clocks and its looks for jobs, and cancels jobs
that it cannot wait for. So looks are made short here, clocks are stopped, and jobs get all the time that there is. In
the middle of its sweep a job is in none of SAQ's lists: that is waited for.
"""

import asyncio
import os
import time
from uuid import UUID

from saq.job import Job, Status
from saq.queue import Queue
from saq.worker import import_settings

from chaperone_async.agent import target
from chaperone_async.agent.pulse import Pulse
from chaperone_async.worker import notify

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from saq.worker import Worker

_LOOK = 1  # seconds
_NOT_DEFAULT = ("timeout", "heartbeat", "retries", "ttl", "retry_delay", "retry_backoff", "priority", "group_key")


def settings() -> "dict[str, Any]":
    target.load(target.target())  # what is not there is told plainly
    own: dict[str, Any] = {**import_settings(target.target())}
    told = target.told()
    own.setdefault("queue", Queue.from_url("redis://localhost"))  # SAQ's own default
    own["concurrency"] = told.get("concurrency") or own.get("concurrency", 1)
    own["dequeue_timeout"] = min(own.get("dequeue_timeout") or _LOOK, _LOOK)
    own["shutdown_grace_period_s"] = told.get("patience")
    own["id"] = os.environ.get("CHAPERONE_WORKER_ID") or own.get("id")
    watch = Watch(target.queue_name(own["queue"].name))
    own["startup"] = [*_all(own.get("startup")), watch.begin]
    own["before_process"] = [watch.start, *_all(own.get("before_process"))]
    own["after_process"] = [watch.end, *_all(own.get("after_process"))]
    return own


def _all(hooks: "Any") -> "list[Callable[[Any], Any]]":
    """SAQ takes none, one or many."""
    if not hooks:
        return []
    return [hooks] if callable(hooks) else list(hooks)


class Watch:
    def __init__(self, queue: str) -> None:
        self._queue = queue
        self._pulse = Pulse()
        self._jobs: dict[int, notify.Job] = {}  # by identity: a later run of a job may begin before this one ends
        self._clocks: set[asyncio.Task[Any]] | None = None
        self._sweeping = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []

    async def begin(self, context: "Any") -> None:
        """Before the worker's own tasks begin."""
        worker: Worker[Any] = context["worker"]
        dequeue, retry, sweep = worker.queue.dequeue, worker.queue.retry, worker.queue.sweep

        async def look(*args: "Any", **options: "Any") -> Job | None:
            if self._clocks is None:
                self._clocks = {task for task in worker.tasks if task.get_name() != "process"}
            job = await dequeue(*args, **options)
            self._pulse.looked()
            return job

        async def retry_as_nobodys(job: Job, error: str | None) -> None:
            job.worker_id = None  # in PostgreSQL it would stay whoever's it was, until the next has marked it
            await retry(job, error)

        async def sweep_to_the_end(*args: "Any", **options: "Any") -> list[str]:
            async with self._sweeping:
                return await sweep(*args, **options)

        worker.queue.dequeue = look  # type: ignore[method-assign]  # on this one object alone
        worker.queue.retry = retry_as_nobodys  # type: ignore[method-assign]  # as above
        worker.queue.sweep = sweep_to_the_end  # type: ignore[method-assign]  # as above
        self._tasks = [asyncio.create_task(self._knock(worker)), asyncio.create_task(self._stop_clocks(worker))]

    async def _knock(self, worker: "Worker[Any]") -> None:
        """The first look may last as long as there is no job."""
        try:
            await worker.queue.count("queued")
        except Exception:  # noqa: BLE001  any client may raise anything: so there is nobody yet who gives jobs
            return
        self._pulse.ready()

    async def _stop_clocks(self, worker: "Worker[Any]") -> None:
        await worker.event.wait()
        async with self._sweeping:
            for task in self._clocks or ():
                task.cancel()

    async def start(self, context: "Any") -> None:
        job: Job = context["job"]
        told = notify.job(job.key, name=job.function, queue=self._queue, wait=_wait(job))
        self._jobs[id(job)] = told.start()
        self._pulse.running += 1

    async def end(self, context: "Any") -> None:
        job: Job = context["job"]
        told = self._jobs.pop(id(job), None)
        if told is None:
            return
        self._pulse.running -= 1
        error = context.get("exception")
        if job.status in {Status.FAILED, Status.ABORTED}:
            told.end(error or f"aborted: {job.error}", target.arguments(kwargs=_sent(job)))
        elif job.status is Status.COMPLETE or error is not None:
            told.end()  # or this run: the job is to be tried again
        # else the worker has put it back, since it ends


def _wait(job: Job) -> float | None:
    """Of a later try nothing is known."""
    if job.attempts > 1 or not job.queued:
        return None
    return time.time() - max(job.queued / 1000, job.scheduled)


def _sent(job: Job) -> "dict[str, Any]":
    """As they were given to `queue.enqueue`, which has the names of a job's own properties for itself."""
    default = Job(job.function)
    properties = {name: getattr(job, name) for name in _NOT_DEFAULT if getattr(job, name) != getattr(default, name)}
    if not _is_random(job.key):
        properties["key"] = job.key
    own = dict(job.kwargs or {})
    clashes = any(name in Job.__dataclass_fields__ for name in own)
    return {"kwargs": own, **properties} if clashes else {**own, **properties}


def _is_random(key: object) -> bool:
    try:
        UUID(str(key))
    except ValueError:
        return False
    return True
