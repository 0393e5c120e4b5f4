"""Of a Huey's queue: the embedded one tells all and takes back what the dead had; of the others only counts can be had,
as a job that one of them has given out is nowhere any more."""

import datetime as dt
import importlib
from contextlib import contextmanager

from huey.storage import MemoryStorage

from chaperone_async.attendant import Refused, Unavailable
from chaperone_async.huey import file
from chaperone_async.huey.database import Database, QueueFileError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any, Literal, NoReturn

_ADVICE = "use chaperone_async.huey.DurableHuey"


def attend(settings: "dict[str, Any]") -> "Embedded | Plain":
    instance = _load(settings["app"])
    database = getattr(instance.storage, "database", None)
    return Embedded(instance, database.path) if isinstance(database, Database) else Plain(instance)


def _load(path: str) -> "Any":
    module, _, name = path.rpartition(".")
    try:
        instance = getattr(importlib.import_module(module), name)
    except Exception as error:  # an application may raise anything
        raise Unavailable(f"cannot load {path}: {type(error).__name__}: {error}") from error
    if not hasattr(instance, "storage"):
        why = f"it is a {type(instance).__name__}, not a Huey"
        raise Refused(f"cannot load {path}: {why}; name the instance, such as {path}.huey")
    return instance


def _check_name(instance: "Any", queues: "Sequence[str]") -> None:
    """The queue is the instance's, whatever the pool calls it; a pool that calls it nothing has "default"."""
    if list(queues) not in ([instance.name], ["default"]):
        raise Unavailable(f"the instance is the queue {instance.name!r}, not {queues[0]!r}; write its name as queue")


class Embedded:
    """A `DurableHuey`: its file is read as it is; the application is only needed for the arguments of failed jobs."""

    def __init__(self, instance: "Any", path: str) -> None:
        self._huey = instance
        self._path = path

    def backlog(self, queues: "list[str]") -> "dict[str, Any]":
        _check_name(self._huey, queues)
        with _explained():
            found = file.backlog(self._path, self._huey.name)
        return {
            "ready": found.ready,
            "delayed": found.delayed,
            "reserved": found.reserved,
            "failed": found.failed,
            "oldest_age": found.oldest_age,
            "next_due": found.next_due,
        }

    def failed(self, queue: str, limit: int, after: str | None) -> "dict[str, Any]":
        with _explained():
            behind = None if after is None else _number(after)
            jobs = file.failed(self._path, limit + 1, self._huey.name, after=behind)
        shown = [self._tell(job, queue) for job in jobs[:limit]]
        return {"jobs": shown, "next": shown[-1]["id"] if shown and len(jobs) > limit else None}

    def retry(self, queue: str, ids: "list[str] | None") -> int:
        _check_name(self._huey, [queue])
        with _explained():
            return sum(file.retry(self._path, which, self._huey.name) for which in _each(ids))

    def flush(self, queue: str, ids: "list[str] | None") -> int:
        _check_name(self._huey, [queue])
        with _explained():
            return sum(file.flush_failed(self._path, self._huey.name, which=which) for which in _each(ids))

    def reclaim(self, worker: "dict[str, Any]") -> int:
        with _explained():
            return file.recover(self._path, worker["id"], blamed=worker.get("blamed", True))

    def _tell(self, job: file.FailedJob, queue: str) -> "dict[str, Any]":
        return {
            "id": str(job.id),
            "queue": queue,
            "name": job.name,
            "args": self._arguments(job.data),
            "error": job.error,
            "failed_at": job.failed_at,
            "attempts": job.attempts,
        }

    def _arguments(self, data: bytes) -> str | None:
        """None: it cannot be read, which may be why it has failed."""
        try:
            task = self._huey.deserialize_task(data)
            return ", ".join([*map(repr, task.args), *(f"{name}={value!r}" for name, value in task.kwargs.items())])
        except Exception:  # noqa: BLE001  reading a pickle, or a repr of the application's, may raise anything
            return None


class Plain:
    """Any other Huey."""

    def __init__(self, instance: "Any") -> None:
        self._huey = instance
        self._kind = type(instance.storage).__name__

    def backlog(self, queues: "list[str]") -> "dict[str, Any]":
        _check_name(self._huey, queues)
        if isinstance(self._huey.storage, MemoryStorage):
            raise Unavailable(f"{self._kind} keeps jobs in the memory of the worker, where nobody else sees them")
        try:
            ready, delayed = self._huey.pending_count(), self._huey.scheduled_count()
            first = self._huey.scheduled(1) if delayed else []
        except Exception as error:  # each storage has its own errors
            raise Unavailable(f"cannot read {self._kind}: {type(error).__name__}: {error}") from error
        return {"ready": ready, "delayed": delayed, "next_due": self._seconds_until(first[0].eta) if first else None}

    def failed(self, **_: object) -> "NoReturn":
        raise Unavailable(f"{self._kind} keeps no list of failed jobs; {_ADVICE}")

    retry = flush = failed

    def reclaim(self, worker: "dict[str, Any]") -> int:
        lost = len(worker["jobs"])
        if lost:
            what = "1 job is lost" if lost == 1 else f"{lost} jobs are lost"
            raise Refused(f"{what}: {self._kind} forgets a job when it gives it out; {_ADVICE}")
        return 0

    def _seconds_until(self, eta: dt.datetime | None) -> float:
        """Huey's times have no zone: they are in UTC, or local, as the instance says."""
        if eta is None:
            return 0.0
        due = eta.replace(tzinfo=dt.UTC) if self._huey.utc else eta.astimezone()
        return max(0.0, (due - dt.datetime.now(dt.UTC)).total_seconds())


@contextmanager
def _explained() -> "Iterator[None]":
    try:
        yield
    except QueueFileError as error:
        raise Unavailable(str(error)) from error


def _each(ids: "list[str] | None") -> "list[int | Literal['all']]":
    """What `file` calls them."""
    return ["all"] if ids is None else [_number(text) for text in ids]


def _number(text: str) -> int:
    """0 is nobody's, and stands for what is no number."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0
