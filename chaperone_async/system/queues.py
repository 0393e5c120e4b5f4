"""The queues of a pool, seen from outside: its sources and its backend's attendant, as one `PoolQueue`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import anyio

from chaperone_async.core.backlog import Backlog, combine
from chaperone_async.core.demand import Sample
from chaperone_async.core.expand import expand
from chaperone_async.core.spec import BackendUse, Launch, PoolSpec, SourceSpec
from chaperone_async.errors import QueueError
from chaperone_async.system.attendants import Attendants, Call
from chaperone_async.system.failed_jobs import FailedJobs
from chaperone_async.system.ports import DeadWorker, FailedJob, FailedPage, JobNotice
from chaperone_async.system.recorded import Again, Recorded

SOURCES = "chaperone_async.attendant.sources"
RECLAIM_TIME = 10.0
ACTION_TIME = 60.0
"""Seconds that a list of failed jobs, or what becomes of them, may take."""
_OURS = Launch()


class Queue:
    """One pool's. Sources are read by an attendant of our own, the backend's works where the pool's workers do."""

    def __init__(self, spec: PoolSpec, attendants: Attendants, failed_jobs: FailedJobs | None = None) -> None:
        """`failed_jobs`: for those that the queue system keeps no list of."""
        self._spec = spec
        self._attendants = attendants
        self._recorded: Recorded | None = None
        self.can = _abilities(spec)
        if failed_jobs is not None and _tells_without_keeping(spec.backend):
            self._recorded = Recorded(spec.name, spec.queues, failed_jobs, self._send)
            self.can |= Recorded.can

    async def backlog(self) -> Backlog:
        backlog = await self._backlog()
        return backlog if self._recorded is None else replace(backlog, failed=await self._recorded.count())

    async def _backlog(self) -> Backlog:
        policy = self._spec.backlog
        if not policy.sources:
            told = await self._ask("backlog", policy.timeout, queues=list(self._spec.queues))
            return read_backlog(told)
        found: list[Backlog] = []
        failures: list[QueueError] = []
        async with anyio.create_task_group() as tasks:

            async def read(source: SourceSpec) -> None:
                try:
                    found.append(await self._read(source, policy.timeout))
                except QueueError as error:
                    failures.append(error)

            for source in policy.sources:
                tasks.start_soon(read, source)
        if failures:
            raise failures[0]
        return combine(found, policy.combine)

    async def _read(self, source: SourceSpec, seconds: float) -> Backlog:
        words = {"pool": self._spec.name, "queue": self._spec.queue}
        settings = {
            "kind": source.kind,
            "address": expand(source.address, words),
            "timeout": seconds,
            **{key: _expanded(value, words) for key, value in source.options},
        }
        launch = self._spec.launch if source.kind in {"command", "python"} else _OURS
        python = self._python if source.kind == "python" else None
        call = Call(SOURCES, json.dumps(settings, sort_keys=True), "backlog", {"queues": list(self._spec.queues)})
        try:
            return read_backlog(await self._attendants.call(launch, python, call, timeout=seconds, user=self))
        except QueueError as error:
            raise type(error)(f"{source.kind}: {error}") from error

    async def call_for(self, sample: Sample) -> float | None:
        policy = self._spec.autoscale
        if policy is None or policy.python is None:
            return None
        told = {"backlog": sample.backlog, "oldest_age": sample.oldest_age, "busy": sample.busy}
        limit = self._spec.backlog.timeout
        settings = json.dumps({"kind": "scaling", "address": policy.python, "timeout": limit})
        call = Call(SOURCES, settings, "call_for", {"sample": told})
        value = await self._attendants.call(self._spec.launch, self._python, call, timeout=limit, user=self)
        return None if value is None else float(value)

    async def failed(self, queue: str, limit: int, after: str | None) -> FailedPage:
        if self._recorded is not None:
            return await self._recorded.page(queue, limit, after)
        return read_page(await self._ask("failed", ACTION_TIME, queue=queue, limit=limit, after=after))

    async def retry(self, queue: str, ids: Sequence[str] | None) -> int:
        if self._recorded is not None:
            return await self._recorded.retry(queue, ids)
        return await self._act("retry", queue, ids)

    async def flush(self, queue: str, ids: Sequence[str] | None) -> int:
        if self._recorded is not None:
            return await self._recorded.flush(queue, ids)
        return await self._act("flush", queue, ids)

    async def _act(self, what: str, queue: str, ids: Sequence[str] | None) -> int:
        return _number(await self._ask(what, ACTION_TIME, queue=queue, ids=None if ids is None else list(ids)))

    async def reclaim(self, dead: DeadWorker) -> int:
        worker = {
            "id": dead.worker_id,
            "slot": dead.slot,
            "pid": dead.pid,
            "queues": list(self._spec.queues),
            "jobs": list(dead.jobs),
            "mark": dead.mark,
            "blamed": dead.blamed,
        }
        return _number(await self._ask("reclaim", RECLAIM_TIME, worker=worker))

    def note_failed(self, notice: JobNotice) -> None:
        if self._recorded is not None:
            self._recorded.note(notice)

    async def _send(self, job: Again) -> None:
        await self._ask("send", ACTION_TIME, **job._asdict())

    @property
    def _python(self) -> str | None:
        """The interpreter that knows the application's modules."""
        return None if self._spec.backend is None else self._spec.backend.python

    async def _ask(self, what: str, seconds: float, **arguments: Any) -> Any:
        backend = self._spec.backend
        if backend is None or backend.attendant is None or (what != "send" and what not in self.can):
            raise QueueError(f"cannot ask for {what}: {_who(backend)} does not tell")
        call = Call(backend.attendant, backend.settings, what, arguments)
        return await self._attendants.call(self._spec.launch, backend.python, call, timeout=seconds, user=self)


def _expanded(value: Any, words: Mapping[str, str]) -> Any:
    return expand(value, words) if isinstance(value, str) else [expand(word, words) for word in value]


def _abilities(spec: PoolSpec) -> frozenset[str]:
    own = frozenset({"backlog"}) if spec.backlog.sources else frozenset[str]()
    return own | (spec.backend.can if spec.backend is not None else frozenset())


def _tells_without_keeping(backend: BackendUse | None) -> bool:
    """Whether its workers tell of failed jobs that nobody lists."""
    return backend is not None and backend.reports and not backend.keeps_failed


def _who(backend: BackendUse | None) -> str:
    return "a pool with a command" if backend is None else f"the backend {backend.name!r}"


def read_backlog(told: Mapping[str, Any]) -> Backlog:
    """What an attendant says. Raises QueueError for what is none."""
    try:
        return Backlog(
            ready=_count(told.get("ready")),
            delayed=_count(told.get("delayed")),
            reserved=_count(told.get("reserved")),
            failed=_count(told.get("failed")),
            oldest_age=_seconds(told.get("oldest_age")),
            next_due=_seconds(told.get("next_due")),
        )
    except (TypeError, ValueError, AttributeError) as error:
        raise QueueError(f"{told!r:.200} is not a backlog: {error}") from error


def _count(value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1 << 53:
        raise ValueError(f"{value!r:.60} is not a count")
    return int(value)


def _seconds(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise ValueError(f"{value!r:.60} is not a time in seconds")
    return max(0.0, float(value))


def _number(told: object) -> int:
    """How many jobs were dealt with. Raises QueueError for what is no number."""
    try:
        return _count(told) or 0
    except ValueError as error:
        raise QueueError(str(error)) from error


def read_page(told: Mapping[str, Any]) -> FailedPage:
    """What an attendant says. Raises QueueError for what is no list of failed jobs."""
    try:
        following = told.get("next")
        return FailedPage(tuple(map(_failed_job, told["jobs"])), None if following is None else str(following))
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        raise QueueError(f"{told!r:.200} is not a list of failed jobs: {error!r}") from error


def _failed_job(job: Mapping[str, Any]) -> FailedJob:
    return FailedJob(
        id=str(job["id"]),
        queue=_text(job.get("queue")),
        name=_text(job.get("name")),
        arguments=_text(job.get("args")),
        error=_text(job.get("error")),
        at=_seconds(job.get("failed_at")),
        attempts=_count(job.get("attempts")),
    )


def _text(value: object) -> str | None:
    """A lone surrogate, which JSON can have and UTF-8 cannot, would keep the whole list from being answered."""
    return None if value is None else str(value).encode(errors="replace").decode()
