"""What makes a Dramatiq worker tell the supervisor of its jobs: a module to be named behind the application's own,
`dramatiq proj.tasks chaperone_async.agent.dramatiq`. $CHAPERONE_DRAMATIQ_BROKER is the first of them.

It takes jobs, and gives a sign of life, each time that all of its consumers have looked for messages: one that hangs
in a dead connection keeps the whole silent.
"""

import os
import threading
import time
from collections.abc import Iterator
from functools import reduce
from importlib import import_module
from typing import TYPE_CHECKING, Any

import dramatiq
from dramatiq.middleware import Retries

from chaperone_async.worker import notify

if TYPE_CHECKING:
    from dramatiq.broker import Consumer, MessageProxy


class Telemetry(dramatiq.Middleware):
    """The last of all: a message that another one skips has not begun."""

    def __init__(self) -> None:
        self.jobs: dict[str, notify.Job] = {}
        self._rounds: Rounds | None = None

    def before_worker_boot(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        rounds = self._rounds = Rounds(worker)
        consume = broker.consume

        def watched(queue_name: str, prefetch: int = 1, timeout: int = 5000) -> "Watched":
            return Watched(consume(queue_name, prefetch, timeout), queue_name, rounds)

        broker.consume = watched  # type: ignore[method-assign,assignment]  # in place of the broker's own

    def after_worker_boot(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        if not worker.consumers:
            broker.logger.warning("This worker will do nothing: no actor has a queue of %s.", worker.consumer_whitelist)
        if self._rounds is not None:
            self._rounds.begin()

    def before_process_message(self, _broker: dramatiq.Broker, message: "MessageProxy") -> None:
        wait = time.time() - _queued_at(message)
        told = notify.job(message.message_id, name=message.actor_name, queue=message.queue_name, wait=wait)
        self.jobs[message.message_id] = told.start()


class Outcome(dramatiq.Middleware):
    """Of the jobs that have begun."""

    def __init__(self, jobs: dict[str, notify.Job], *, knows_whether_it_failed: bool = False) -> None:
        """Dramatiq's retries decide that before, if they come after this middleware: what is done last comes first."""
        self._jobs = jobs
        self._is_told = knows_whether_it_failed

    def after_process_message(
        self,
        _broker: dramatiq.Broker,
        message: "MessageProxy",
        *,
        result: Any = None,  # noqa: ARG002  Dramatiq gives it by name
        exception: BaseException | None = None,
    ) -> None:
        """What is to be tried again has not failed."""
        self._end(message, None if self._is_told and not message.failed else exception)

    def after_skip_message(self, _broker: dramatiq.Broker, message: "MessageProxy") -> None:
        self._end(message, None)

    def _end(self, message: "MessageProxy", error: BaseException | None) -> None:
        job = self._jobs.pop(message.message_id, None)
        if job is not None:
            job.end(error)


class Rounds:
    """Of all consumers of a worker: a round is over when each has looked for messages."""

    def __init__(self, worker: dramatiq.Worker) -> None:
        self._worker = worker
        self._turn = threading.Lock()  # each consumer has its thread
        self._has_begun = self._is_ready = False
        self._missing: set[str] = set()

    def begin(self) -> None:
        """All consumers are there."""
        with self._turn:
            self._missing = set(self._worker.consumers)
            self._has_begun = True

    def looked(self, queue: str) -> None:
        with self._turn:
            self._missing.discard(queue)
            if self._missing or not self._has_begun:
                return
            self._missing = set(self._worker.consumers)
            was_ready, self._is_ready = self._is_ready, True
        if not was_ready:
            notify.ready()
        notify.heartbeat()


class Watched:
    """A consumer whose looks for messages are told."""

    def __init__(self, consumer: "Consumer", queue: str, rounds: Rounds) -> None:
        self._consumer, self._queue, self._rounds = consumer, queue, rounds

    def __iter__(self) -> "Iterator[MessageProxy | None]":
        return self

    def __next__(self) -> "MessageProxy | None":
        message = next(self._consumer)
        self._rounds.looked(self._queue)
        return message

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)


def _queued_at(message: "MessageProxy") -> float:
    """In seconds since the epoch. What was delayed had to wait that long: since when it may be taken is not told."""
    since: int = max(message.message_timestamp, message.options.get("requeue_timestamp", 0))
    return since / 1000


def _broker() -> dramatiq.Broker:
    """That which this worker uses."""
    module, _, path = os.environ.get("CHAPERONE_DRAMATIQ_BROKER", "").partition(":")
    named = reduce(getattr, path.split("."), import_module(module)) if path else None
    return named if isinstance(named, dramatiq.Broker) else dramatiq.get_broker()


def _sign(broker: dramatiq.Broker) -> None:
    """On Redis each process marks what it takes with an id of its own, which is random: ours can be told from others',
    so that jobs of the dead can be put back."""
    worker = os.environ.get("CHAPERONE_WORKER_ID")
    if worker and hasattr(broker, "broker_id"):
        broker.broker_id = f"{worker}.{os.getpid():07d}"  # of one length: Dramatiq looks for those that begin with it


def _listen(broker: dramatiq.Broker) -> None:
    telemetry = Telemetry()
    broker.add_middleware(telemetry)
    if any(isinstance(middleware, Retries) for middleware in broker.middleware):
        broker.add_middleware(Outcome(telemetry.jobs, knows_whether_it_failed=True), before=Retries)
    else:
        broker.add_middleware(Outcome(telemetry.jobs))


_sign(_broker())
_listen(_broker())
