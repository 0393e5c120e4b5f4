"""`python -m chaperone_async.agent.huey APP [OPTION…]`: Huey's own consumer, which tells the supervisor of its jobs.

It gives a sign of life whenever the queue has answered it, and while it is at work. Of each run of a job it tells the
start, and the end once all that follows from it is written: one whose worker dies in between was not done.
"""

import mmap
import os
import sys
import time

from huey import signals
from huey.bin import huey_consumer

from chaperone_async.worker import notify

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Instance = Any  # a Huey, or what behaves as one
    Task = Any

_TAKES, _LISTENS = "takes jobs", "listens to signals"
_HERE = "chaperone_async.agent.huey"


class Readiness:
    """READY=1, once: when the first of the threads or child processes asks for a job, and signals are listened to.
    A forked child cannot see the latter, which comes at the same time."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._seen: set[str] = set()
        self._token, end = os.pipe()  # one of all threads and children gets it
        os.write(end, b"1")
        os.close(end)

    def note(self, what: str) -> None:
        if what in self._seen:
            return
        self._seen.add(what)
        needed = {_TAKES, _LISTENS} if os.getpid() == self._pid else {_TAKES}
        if self._seen >= needed and os.read(self._token, 1):
            notify.ready()


class Runs:
    """The jobs that this process is at work on. Of its children it sees whether they are."""

    def __init__(self, instance: "Instance") -> None:
        self._queue = instance.name
        self._flags = mmap.mmap(-1, mmap.PAGESIZE)  # shared with all children, each of which has a byte
        self._running: dict[int, notify.Job] = {}
        self._errors: dict[int, BaseException | str] = {}
        instance.signal(signals.SIGNAL_EXECUTING)(self.begin)
        instance.signal(signals.SIGNAL_ERROR, signals.SIGNAL_TIMEOUT)(self.note_error)
        instance.signal(signals.SIGNAL_INTERRUPTED)(self.interrupt)

    def any(self, children: "list[int]") -> bool:
        return bool(self._running) or any(self._flags[pid % mmap.PAGESIZE] for pid in children)

    def begin(self, _signal: str, task: "Task") -> None:
        self._flags[os.getpid() % mmap.PAGESIZE] = 1
        name = f"{type(task).__module__}.{task.name}"
        held = getattr(task, "held", None)  # of the embedded queue, which knows since when it has waited
        wait = None if held is None else time.time() - held.enqueued_at
        self._running[id(task)] = notify.job(task.id, name=name, queue=self._queue, wait=wait).start()

    def note_error(self, _signal: str, task: "Task", error: Exception | None = None) -> None:
        if not task.retries:  # else it is tried again, and has not failed yet
            self._errors[id(task)] = error or f"TaskTimeout: it ran longer than its {task.timeout} s"

    def interrupt(self, _signal: str, task: "Task") -> None:
        """At once: what is interrupted with its whole process does not come to its end. The embedded queue has it
        back; any other has lost it."""
        self.end(task, None if hasattr(task, "held") else "interrupted")

    def end(self, task: "Task", error: BaseException | str | None = None) -> None:
        """What ends by a lock, a rate limit, a cancellation, or asks to be run again, has not failed."""
        self._flags[os.getpid() % mmap.PAGESIZE] = 0
        job, noted = self._running.pop(id(task), None), self._errors.pop(id(task), None)
        if job is not None:
            job.end(noted if error is None else error)


def attend(instance: "Instance") -> None:
    """What the consumer calls of the instance goes through here."""
    runs, readiness = Runs(instance), Readiness()
    take, execute, create = instance.dequeue, instance.execute, instance.create_consumer

    def dequeue() -> "Task":
        readiness.note(_TAKES)
        task = take()
        notify.heartbeat()
        return task

    def execute_and_tell(task: "Task", timestamp: "Any" = None) -> "Any":
        error: BaseException | None = None
        try:
            return execute(task, timestamp)
        except BaseException as raised:
            error = raised
            raise
        finally:
            runs.end(task, error)

    def create_consumer(**options: "Any") -> "Any":
        sys.argv[:1] = ["-m", _HERE]  # by SIGHUP the consumer starts itself anew, as Python with these arguments
        consumer = create(**options)
        start, loop = consumer.start, consumer.loop

        def start_and_tell() -> None:
            start()
            readiness.note(_LISTENS)

        def beat_and_loop(health_check_at: "Any" = None) -> "Any":
            children = [pid for _, worker in consumer.worker_threads if (pid := getattr(worker, "pid", None))]
            if runs.any(children):
                notify.heartbeat()
            return loop(health_check_at)

        consumer.start, consumer.loop = start_and_tell, beat_and_loop
        return consumer

    instance.dequeue, instance.execute, instance.create_consumer = dequeue, execute_and_tell, create_consumer


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit(f"cannot run a consumer: nothing says of which Huey; write python -m {_HERE} proj.huey")
    path = sys.argv[1]
    instance = huey_consumer.load_huey(path)
    if not hasattr(instance, "create_consumer"):
        what = type(instance).__name__
        sys.exit(f"cannot run {path}: it is a {what}, not a Huey; name the instance, such as {path}.huey")
    attend(instance)
    huey_consumer.consumer_main()


if __name__ == "__main__":
    main()
