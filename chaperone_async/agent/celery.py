"""For `celery worker --include chaperone_async.agent.celery`: tells when the worker takes jobs, and of each of them;
lets SIGUSR2 pause it until SIGCONT.

With prefork the children tell of the jobs they run, and the main process of those that were lost with a child.
"""

import os
import signal
import sys
from threading import get_ident
from weakref import WeakValueDictionary

from celery import signals
from kombu.utils.json import dumps

from chaperone_async.agent.celery_presence import Presence
from chaperone_async.worker import notify

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

_MAIN = os.getpid()  # children are forked later
_WORKER = os.environ.get("CHAPERONE_WORKER_ID", "")
_QUEUES = os.environ.get("CHAPERONE_QUEUE", "").split(",")
_received: "WeakValueDictionary[str, Any]" = WeakValueDictionary()  # requests by id, as the main process has them
_running: "dict[tuple[int, str], notify.Job]" = {}  # by thread and id: after a redelivery it may be there twice


# Jobs


def receive(request: "Any", **_: "Any") -> None:
    _received[request.id] = request


def begin(task_id: str, task: "Any", **_: "Any") -> None:
    request = task.request
    if not request.is_eager:  # else it is part of another, which called it in place
        job = notify.job(task_id, name=task.name, queue=_queue_of(request.delivery_info))
        _running[get_ident(), task_id] = job.start()


def end(task_id: str, task: "Any", args: "Any", kwargs: "Any", retval: "Any", state: str | None, **_: "Any") -> None:
    job = _running.pop((get_ident(), task_id), None)
    if job is None:
        return
    if state == "FAILURE" or (state is None and os.getpid() == _MAIN):
        error = retval if state else sys.exc_info()[1]
        job.end(error or "it was interrupted", _arguments(args, kwargs, _queue_of(task.request.delivery_info)))
    elif state is not None:  # done; or to be tried again, or refused: that is no end of it, but of this run
        job.end()
    # else this child is being ended: whether its job has failed with it, or was given back, the main process knows


def lost(sender: "Any", task_id: str, exception: BaseException, args: "Any", kwargs: "Any", **_: "Any") -> None:
    """A child has ended in the middle of this job, or was ended for it took too long."""
    if sender.request.is_eager:  # as in `begin`
        return
    if os.getpid() == _MAIN and (get_ident(), task_id) not in _running:
        queue = _queue_of(getattr(_received.get(task_id), "delivery_info", None))
        job = notify.job(task_id, name=sender.name, queue=queue)
        job.start().end(exception, _arguments(args, kwargs, queue))


def cancelled(sender: "Any", request: "Any", **_: "Any") -> None:
    """In a cold shutdown. Celery calls this a retry, but nobody tries again what was acknowledged when it began."""
    if not sender.acks_late:
        lost(sender, request.id, InterruptedError("cancelled by a cold shutdown"), request.args, request.kwargs)


def _queue_of(delivery_info: "Mapping[str, Any] | None") -> str:
    """A message does not say. Unless it was routed in some way of the application's own, its key is the queue."""
    if len(_QUEUES) == 1:
        return _QUEUES[0]
    key = str((delivery_info or {}).get("routing_key") or "")
    return key if key in _QUEUES else ""


def _arguments(args: "Sequence[Any]", kwargs: "Mapping[str, Any]", queue: str) -> str | None:
    try:
        return str(dumps({"args": list(args), "kwargs": dict(kwargs), "queue": queue}))
    except Exception:  # noqa: BLE001  pickled ones may be anything, and have their own __json__: they are not sent again
        return None


# The worker


def ready(**_: "Any") -> None:
    notify.ready()


def join(sender: "Any", **_: "Any") -> None:
    """Before the worker is built."""
    sender.app.steps["consumer"].add(Presence)
    signal.signal(signal.SIGUSR2, lambda *_: Presence.pause())
    signal.signal(signal.SIGCONT, lambda *_: Presence.resume())


def leave_alone(**_: "Any") -> None:
    """A child takes no such signal."""
    if os.getpid() != _MAIN:
        signal.signal(signal.SIGUSR2, signal.SIG_DFL)
        signal.signal(signal.SIGCONT, signal.SIG_DFL)


if _WORKER:
    signals.worker_init.connect(join)
    signals.worker_ready.connect(ready)
    signals.worker_process_init.connect(leave_alone)
    signals.task_received.connect(receive)
    signals.task_prerun.connect(begin)
    signals.task_postrun.connect(end)
    signals.task_failure.connect(lost)
    signals.task_retry.connect(cancelled)
