"""What we add to Celery's consumer: heartbeats while it hears the broker, and the pause."""

from celery import bootsteps
from celery.worker import state as worker_state

from chaperone_async.agent.celery_redis import RedisConsumer, give_back
from chaperone_async.worker import notify

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LOOK = 0.5  # seconds between looks from within the consumer's loop


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
            kind = type(consumer.pool).__module__.rpartition(".")[2]
            # Where jobs run in the loop itself it would fall silent with each. Without a hub nobody looks after us.
            self._beats = consumer.hub is not None and kind != "solo"
            RedisConsumer(channel, beats=self._beats)
            if consumer.restart_count and kind == "prefork":
                give_back(consumer, channel)

    def register_with_event_loop(self, consumer: "Any", hub: "Any") -> None:
        hub.call_repeatedly(_LOOK, self.look, consumer)

    def look(self, consumer: "Any") -> None:
        """From within the loop."""
        if consumer.blueprint.state != bootsteps.RUN or consumer.task_consumer is None:
            return
        if self.wanted == bool(self._parked):
            self._change(consumer)
        if self._beats and (self._parked or worker_state.active_requests or _is_full(consumer)):
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


def _is_full(consumer: "Any") -> bool:
    """Perhaps with jobs that wait for their time. On Redis: no channel of RabbitMQ's can tell."""
    return not consumer.task_consumer.channel.qos.can_consume()
