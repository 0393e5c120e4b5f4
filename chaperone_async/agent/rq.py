"""RQ's worker, which tells the supervisor of its jobs: `rq worker -w chaperone_async.agent.rq.Worker`. It stands on the
class that $CHAPERONE_RQ_WORKER names, by default RQ's own.
"""

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from mmap import mmap
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError
from rq import SimpleWorker
from rq.exceptions import InvalidJobOperation
from rq.job import Job, JobStatus
from rq.queue import Queue
from rq.utils import as_text, import_attribute

from chaperone_async.attendant.rq_reclaim import DEATHS
from chaperone_async.worker import notify

if TYPE_CHECKING:
    from rq import Worker as Base
else:
    Base = import_attribute(os.environ.get("CHAPERONE_RQ_WORKER") or "rq.Worker")
_FAILED = (JobStatus.FAILED, JobStatus.STOPPED)  # and not to be tried again


class Outcome:
    """How a job ended, written by the forked process that does it, which shares this memory with its parent."""

    _SIZE = 1024

    def __init__(self) -> None:
        self._memory = mmap(-1, self._SIZE)

    def clear(self) -> None:
        self._memory[0] = 0

    def write(self, error: str) -> None:
        text = error.encode(errors="replace")[: self._SIZE - 2]
        self._memory[1 : len(text) + 2] = text + b"\0"
        self._memory[0] = 1

    def read(self) -> str | None:
        """The error; empty: it went well; None: nobody has written."""
        return self._memory[1:].partition(b"\0")[0].decode(errors="ignore") if self._memory[0] else None


@cache
def marking(kind: type[Queue]) -> type[Queue]:
    """A kind of queue that tells at once which job was taken out of it. Should its worker die before it has begun with
    that job, nobody else knows of it: from several queues, RQ takes it for good."""

    class Marking(kind):  # type: ignore[misc,valid-type]  # a base known when run
        @classmethod
        def lpop(cls, queue_keys: Sequence[str], timeout: int | None, connection: Any = None) -> Any:
            return _marked(super().lpop(queue_keys, timeout, connection=connection))

        @classmethod
        def lmove(cls, connection: Any, queue_key: str, timeout: int | None) -> Any:
            return _marked(super().lmove(connection, queue_key, timeout))

    return Marking


def _marked(taken: Any) -> Any:
    if taken is not None:
        notify.mark(as_text(taken[1]))
    return taken


class Worker(Base):
    _outcome = Outcome()
    _error = ""
    _job: notify.Job | None = None
    _is_ready = False

    def check_for_suspension(self, burst: bool) -> None:  # noqa: FBT001  RQ's
        """While `rq suspend` lasts this does not return, and RQ's heartbeats go on."""
        self._say_ready()
        super().check_for_suspension(burst)

    def dequeue_job_and_maintain_ttl(
        self, timeout: int | None, max_idle_time: int | None = None
    ) -> tuple[Job, Queue] | None:
        self._say_ready()
        kind, self.queue_class = self.queue_class, marking(self.queue_class)
        try:
            taken = super().dequeue_job_and_maintain_ttl(timeout, max_idle_time)
        finally:
            self.queue_class = kind
        if taken is not None:
            job, queue = taken
            self._job = notify.job(job.id, name=_name(job), queue=queue.name, wait=_wait(job)).start()
        return taken

    def execute_job(self, job: Job, queue: Queue) -> None:
        self._outcome.clear()
        try:
            super().execute_job(job, queue)
        except BaseException:  # by TERM, before it has begun or when it is over: this ends the worker
            self._end(self._outcome.read())
            raise
        error = self._outcome.read()
        self._end(_look_up(job) if error is None else error)

    def perform_job(self, job: Job, queue: Queue, *execution: Any) -> bool:
        """In the forked process, if there is one. Before RQ 3 the execution is not among the arguments."""
        self._error = ""
        well = super().perform_job(job, queue, *execution)
        self._outcome.write(self._error or "failed" if job.get_status(refresh=False) in _FAILED else "")
        if well:
            with suppress(RedisError):  # it is done, all the same
                self.connection.hdel(job.key, DEATHS)  # another run under its id begins anew
        return well

    def handle_exception(self, job: Job, *exc_info: Any) -> None:
        self._error = _describe(exc_info[1])
        super().handle_exception(job, *exc_info)

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        super().heartbeat(timeout, pipeline)
        if not self.is_horse and not isinstance(self, SimpleWorker):  # which falls silent with each job
            notify.heartbeat()

    def _say_ready(self) -> None:
        """By now it is registered, and listens to signals."""
        if not self._is_ready:
            self._is_ready = True
            notify.ready()

    def _end(self, error: str | None) -> None:
        if self._job is not None and error is not None:
            self._job.end(error or None)
            self._job = None


def _start_though_suspended() -> None:
    """`rq worker` refuses to, which would be a crash here. One that runs waits for `rq resume`."""
    command = sys.modules.get("rq.cli.workers")
    if command is not None:
        vars(command)["is_suspended"] = lambda *_: False


def _name(job: Job) -> str:
    """Of its function: without loading its arguments, which would import the application here."""
    return (job.description or "").partition("(")[0]


def _wait(job: Job) -> float | None:
    if job.enqueued_at is None:
        return None
    at = job.enqueued_at if job.enqueued_at.tzinfo else job.enqueued_at.replace(tzinfo=UTC)
    return (datetime.now(UTC) - at).total_seconds()


def _look_up(job: Job) -> str:
    """Its process has told nothing: it was killed, or is no fork of this one."""
    try:
        status = job.get_status(refresh=True)
    except InvalidJobOperation:  # it is gone: its result was not to be kept
        return ""
    except RedisError:
        return "nothing is known of how it ended"
    return f"its process has ended before it; the job is {status.value} now" if status in _FAILED else ""


def _describe(error: BaseException | None) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001  the user's own __str__ is broken, and must not hide the user's own error
        return type(error).__name__


_start_though_suspended()
