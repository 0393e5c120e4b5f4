"""What we add to Celery's consumer: heartbeats while it hears the broker, the pause, and in Redis, beside each message,
who has it."""

import os

from celery import bootsteps
from celery.utils.log import get_logger
from celery.worker import state as worker_state

from chaperone_async.worker import notify

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HOLDER = "chaperone"
"""The key, in a message that Redis keeps for a worker, of that worker's id."""
_LOOK = 0.5  # seconds between looks from within the consumer's loop
_WORKER = os.environ.get("CHAPERONE_WORKER_ID", "")
logger = get_logger(__name__)


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
            queues.select(self._parked)
            for name in self._parked:
                consumer.add_task_queue(name)
            self._parked = []
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
