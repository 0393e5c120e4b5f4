"""For `celery worker --include chaperone_async.agent.celery`: tells when the worker takes jobs, of each job, and that
its loop hears the broker; lets SIGUSR2 pause it until SIGCONT; notes in Redis, beside each message, who has it.

With prefork the children tell of the jobs they run, and the main process of those that were lost with a child.
"""

import os
import signal
import sys
from threading import get_ident

from celery import bootsteps, signals
from celery.utils.log import get_logger
from celery.worker import state as worker_state
from kombu.utils.json import dumps

from chaperone_async.worker import notify

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

logger = get_logger(__name__)
HOLDER = "chaperone"
"""The key, in a message that Redis keeps for a worker, of that worker's id."""
_LOOK = 0.5  # seconds between looks from within the consumer's loop
_MAIN = os.getpid()  # children are forked later
_WORKER = os.environ.get("CHAPERONE_WORKER_ID", "")
_QUEUES = os.environ.get("CHAPERONE_QUEUE", "").split(",")
_running: "dict[tuple[int, str], notify.Job]" = {}  # by thread and id: after a redelivery it may be there twice


# Jobs


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
    if os.getpid() == _MAIN and (get_ident(), task_id) not in _running:
        job = notify.job(task_id, name=sender.name, queue=_queue_of(None))
        job.start().end(exception, _arguments(args, kwargs, _queue_of(None)))


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


class Presence(bootsteps.StartStopStep):
    """A part of the consumer, begun again with each new connection to the broker."""

    requires = ("celery.worker.consumer.tasks:Tasks",)
    consumer: "Any" = None
    wanted = True  # else it is to be paused

    def __init__(self, consumer: "Any", **options: "Any") -> None:
        super().__init__(consumer, **options)
        Presence.consumer = consumer
        self._parked: list[str] = []  # queues that it would consume, if it were not paused
        self._beats = False

    def start(self, consumer: "Any") -> None:
        channel = consumer.task_consumer.channel
        self._beats = False
        if "BRPOP" in getattr(channel, "handlers", ()):  # Redis
            _sign(channel.qos)
            kind = type(consumer.pool).__module__.rpartition(".")[2]
            # Where jobs run in the loop itself it would fall silent with each. Without a hub nobody looks after us.
            self._beats = consumer.hub is not None and kind != "solo"
            if self._beats:
                _listen(channel)
            if consumer.restart_count and kind == "prefork":
                _give_back(consumer, channel)

    def register_with_event_loop(self, consumer: "Any", hub: "Any") -> None:
        hub.call_repeatedly(_LOOK, self.look, consumer)

    def look(self, consumer: "Any") -> None:
        """From within the loop."""
        if consumer.blueprint.state != bootsteps.RUN or consumer.task_consumer is None:
            return
        if self.wanted == bool(self._parked):
            self._change(consumer)
        if self._beats and (self._parked or worker_state.active_requests):
            notify.heartbeat()  # it need not ask for jobs now

    def _change(self, consumer: "Any") -> None:
        """At once for the next connection, too: this one may break in the middle of it."""
        queues = consumer.app.amqp.queues
        if self.wanted:
            names, self._parked = self._parked, []
            queues.select(names)
            for name in names:
                consumer.add_task_queue(name)
        else:
            self._parked = [queue.name for queue in consumer.task_consumer.queues]
            queues.deselect(self._parked)
            for name in self._parked:
                consumer.cancel_task_queue(name)

    @classmethod
    def pause(cls) -> None:
        cls.wanted = False
        cls._urge()

    @classmethod
    def resume(cls) -> None:
        cls.wanted = True
        cls._urge()

    @classmethod
    def _urge(cls) -> None:
        """In a signal handler. A hub must not be touched: its lock may be held by who was interrupted."""
        consumer = cls.consumer
        if consumer is not None and consumer.hub is None:
            step = next((step for step in consumer.steps if isinstance(step, cls)), None)
            if step is not None:
                consumer.call_soon(step.look, consumer)


def _give_back(consumer: "Any", channel: "Any") -> None:
    """The connection before has broken. What came by it and was not begun Celery has forgotten, since the broker will
    deliver it again: Redis does, but when its visibility timeout is over, unless it could be told at once."""
    from chaperone_async.attendant.celery_redis import RedisQueues

    begun = {request.id for request in worker_state.active_requests}
    try:
        many = RedisQueues(consumer.app, channel).put_back(_WORKER, (), but=begun)
    except consumer.connection_errors:
        raise  # it has broken, too: this all begins again
    except Exception as error:  # noqa: BLE001  the worker shall work, whatever this Redis does not let us do
        logger.warning("cannot put back what an earlier connection had been given: %r", error)
    else:
        if many:
            logger.warning("put back %d messages that an earlier connection had been given", many)


def _sign(qos: "Any") -> None:
    """Keep the worker's id beside each message that Redis keeps for it, so that it can be told whose they are."""
    append = qos.append

    def signed(message: "Any", delivery_tag: str) -> None:
        message._raw[HOLDER] = _WORKER  # noqa: SLF001  what is written, and nothing else is: kombu reads its own keys only
        append(message, delivery_tag)

    qos.append = signed


def _listen(channel: "Any") -> None:
    """Each answer of Redis is a heartbeat: while the worker asks for jobs, there is one every second. A loop that turns
    and hears nothing has none."""
    read = channel.handlers["BRPOP"]

    def heard(*args: "Any", **options: "Any") -> "Any":
        notify.heartbeat()
        return read(*args, **options)

    channel.handlers["BRPOP"] = heard


if _WORKER:
    signals.worker_init.connect(join)
    signals.worker_ready.connect(ready)
    signals.worker_process_init.connect(leave_alone)
    signals.task_prerun.connect(begin)
    signals.task_postrun.connect(end)
    signals.task_failure.connect(lost)
    signals.task_retry.connect(cancelled)
