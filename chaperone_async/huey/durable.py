"""`DurableHuey`: a Huey whose jobs stay in the file until they have ended, whatever becomes of who works on them."""

import datetime as dt
import logging
import os
import traceback
from typing import Any

from huey import signals
from huey.api import Huey, Task

from chaperone_async.huey.database import QueueFileError
from chaperone_async.huey.jobs import Failure, Held
from chaperone_async.huey.storage import DurableStorage, Returned
from chaperone_async.huey.values import lease_at_work

_log = logging.getLogger("huey")  # where Huey's own messages go


class JobKilledWorkers(Exception):
    """What a job fails with that is not tried again, as its worker has died of it too often."""

    def __init__(self, deaths: int) -> None:
        who = "1 worker has died while it had it" if deaths == 1 else f"{deaths} workers have died while they had it"
        super().__init__(f"the job was given up: {who}")
        self.deaths = deaths


class DurableHuey(Huey):
    """Used as any Huey is. At least once: a job whose worker dies runs again, so it must bear to be run twice.

    A job that ends with an error or by its time-out, without retries left, is kept among the file's failed jobs, as is
    one that has cost `max_deaths` workers; with 0, never. One that is cancelled, revoked, expired, or kept from running
    by a lock or a rate limit, has ended as the application wanted it. The other arguments are Huey's own.
    """

    storage_class = DurableStorage

    def __init__(
        self,
        name: str = "huey",
        filename: str | os.PathLike[str] = "jobs.db",
        *,
        max_deaths: int = 3,
        timeout: float = 10.0,
        results: bool = True,
        store_none: bool = False,
        utc: bool = True,
        immediate: bool = False,
        serializer: Any = None,
        compression: bool = False,
        use_zlib: bool = False,
        immediate_use_memory: bool = True,
        store_intermediate_errors: bool = True,
    ) -> None:
        """`timeout`: seconds to wait while others write to the file."""
        super().__init__(
            name,
            results=results,
            store_none=store_none,
            utc=utc,
            immediate=immediate,
            serializer=serializer,
            compression=compression,
            use_zlib=use_zlib,
            immediate_use_memory=immediate_use_memory,
            store_intermediate_errors=store_intermediate_errors,
            filename=filename,
            timeout=timeout,
            naive_utc=utc,
        )
        self.max_deaths = max_deaths
        self._unsettled: list[Held] = []  # have ended, which could not be written yet
        self.signal(signals.SIGNAL_ERROR, signals.SIGNAL_TIMEOUT)(self._note_failure)
        self.signal(signals.SIGNAL_INTERRUPTED)(self._release)
        self.on_startup("recover")(self.recover)

    def recover(self) -> int:
        """Put back the jobs of processes that have died; how many those were. Each worker does so when it starts, and
        the scheduler whenever it looks for what is due."""
        if not isinstance(self.storage, DurableStorage):
            return 0
        recovered = self.storage.recover()
        if recovered:
            _log.warning("%d jobs are put back into the queue, whose workers have died", recovered)
        return recovered

    def dequeue(self) -> Any:
        if not isinstance(self.storage, DurableStorage):  # immediate: nothing stays in memory
            return super().dequeue()
        while self._unsettled:  # no new jobs before
            self._settle(self._unsettled.pop())
        held = self.storage.reserve()
        if held is None:
            return None
        if 0 < self.max_deaths < held.deaths:  # even giving it up has cost a worker: reading it does
            self.storage.bury(held, Failure(str(JobKilledWorkers(held.deaths))))
            return None
        task = self._read(held)
        if 0 < self.max_deaths == held.deaths:
            _give_up(task, held.deaths)
        return task

    def execute(self, task: Any, timestamp: dt.datetime | None = None) -> Any:
        held: Held | None = getattr(task, "held", None)
        if held is None:
            return super().execute(task, timestamp)
        timestamp = timestamp or self._get_timestamp()
        held.begun = self.ready_to_run(task, timestamp)
        at_work = lease_at_work.set(held.lease)
        try:
            value = super().execute(task, timestamp)
        except Exception as error:  # not the task's own: what should follow it could not be done
            held.failure = _failure(task, error)
            self._settle(held)
            raise
        except BaseException:  # SystemExit and the like: it takes its worker down, though not the process
            self.storage.release(held, deaths=1)
            raise
        finally:
            lease_at_work.reset(at_work)
        self._settle(held)
        return value

    def read_schedule(self, timestamp: dt.datetime | None = None) -> list[Any]:
        if not isinstance(self.storage, DurableStorage):
            return list(super().read_schedule(timestamp))
        self.recover()
        due = []
        for held in self.storage.due(timestamp or self._get_timestamp()):
            try:
                due.append(self._read(held))
            except Exception:  # noqa: BLE001  reading a pickle may raise anything, and must not hold up the others
                _log.exception("A delayed job cannot be read; it is among the failed ones")
        return due

    def read_periodic(self, timestamp: dt.datetime | None) -> list[Any]:
        """Without a time, as the scheduler asks, a task is there once a minute: each worker has a scheduler."""
        now = timestamp or self._get_timestamp()
        tasks = list(super().read_periodic(now))
        if timestamp is not None or not isinstance(self.storage, DurableStorage):
            return tasks
        minute = int((now.replace(tzinfo=dt.UTC) if self.utc else now).timestamp() // 60)
        ours = []
        try:
            for task in tasks:
                if self.storage.advance(f"periodic:{_name(task)}", minute):
                    ours.append(task)  # noqa: PERF401  kept, should the next one fail
        except QueueFileError:  # Huey's scheduler would end by it
            _log.exception("Periodic tasks are left out")
        return ours

    def serialize_task(self, task: Any) -> bytes:
        """A task that is in hand goes back to its place: to be retried, or because it is not due yet, or due now."""
        data: bytes = super().serialize_task(task)
        held: Held | None = getattr(task, "held", None)
        if held is None:
            return data
        returned = Returned(data)
        returned.held = held
        return returned

    def _check_chord(self, member: Any, value: Any) -> None:
        """As Huey does, but so that it can be done again. A member that runs again is counted once: else the chord
        would end without another's result. What its callback is made of is kept until the callback is in the queue."""
        if not isinstance(self.storage, DurableStorage):
            super()._check_chord(member, value)
            return
        whole = f"chord:{member.cid}"
        parts = [f"{whole}:{number}" for number in range(member.size)]
        if self.storage.put_part(parts[member.idx], self.serializer.serialize(value), whole) == member.size:
            member.callback.extend_data(([self.get(part, peek=True) for part in parts],))
            self.enqueue(member.callback)
            self.storage.delete_parts(parts, whole)

    def _settle(self, held: Held) -> None:
        """Tried again when the file cannot be written: else the job would stay reserved while this process lives."""
        try:
            if held.failure is None:
                self.storage.acknowledge(held)
            else:
                self.storage.bury(held, held.failure)
        except QueueFileError:
            self._unsettled.append(held)
            raise

    def _read(self, held: Held) -> Any:
        """One that cannot be read is kept: another release of the application may know it."""
        try:
            task = self.deserialize_task(held.data)
        except Exception as error:
            self.storage.bury(held, Failure(f"cannot be read: {error!r}", traceback.format_exc()))
            raise
        task.held = held
        return task

    def _note_failure(self, _signal: str, task: Any, error: Exception | None = None) -> None:
        held: Held | None = getattr(task, "held", None)
        if held is not None and not task.retries:
            held.failure = _failure(task, error or TimeoutError(f"it ran longer than its {task.timeout} s"))

    def _release(self, _signal: str, task: Any) -> None:
        """It was stopped with its worker, and is not to blame."""
        held: Held | None = getattr(task, "held", None)
        if held is not None:
            held.settled = True  # if the file cannot be written, too: it goes back when this process has ended
            self.storage.release(held)


def _give_up(task: Any, deaths: int) -> None:
    """Let it fail as any job that raises, with all that Huey does then: tell who waits for the result, send signals,
    end pipelines and chords."""

    def fail() -> None:
        raise JobKilledWorkers(deaths)

    task.retries = 0
    task.execute = fail


def _failure(task: Task, error: Exception) -> Failure:
    lines = traceback.format_exception(error)
    return Failure(repr(error), "".join(lines), task.id, _name(task))


def _name(task: Task) -> str:
    return f"{type(task).__module__}.{task.name}"
