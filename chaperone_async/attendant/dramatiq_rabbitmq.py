"""Dramatiq's queues in RabbitMQ: Q, Q.DQ with what is delayed, and Q.XQ with the dead letters.

What is known without RabbitMQ's management are the messages that are ready: not those that workers have, which take
what is delayed into their memory, too. RabbitMQ gives back by itself what the dead had.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from chaperone_async.attendant import Unavailable
from chaperone_async.attendant.dramatiq import decoded, described
from chaperone_async.attendant.reading import Figures, Kept, library
from chaperone_async.attendant.several import together

if TYPE_CHECKING:
    from dramatiq.brokers.rabbitmq import RabbitmqBroker

_PATIENCE = 5.0  # seconds that RabbitMQ may take for one answer
_SHOWN = 5000  # dead letters that are read at most: they come oldest first, and the newest are wanted
_NO_SUCH_QUEUE = 404

T = TypeVar("T")


class OnRabbitmq:
    """One connection, and one caller at a time: whoever reads dead letters has them all in his hands, and nobody else
    can count them."""

    def __init__(self, broker: "RabbitmqBroker") -> None:
        pika = library("pika", "rabbitmq")
        given = broker.parameters if isinstance(broker.parameters, list) else [broker.parameters]
        parameters = [_bounded(each) for each in given]
        self._kept = Kept(
            lambda: pika.BlockingConnection(parameters), lambda each: each.close(), _is_lost, 2 * _PATIENCE
        )

    def backlog(self, queues: Sequence[str]) -> Figures:
        return self._ask(lambda connection: together([_backlog(connection, queue) for queue in queues]))

    def failed(self, queue: str, limit: int, after: str | None) -> dict[str, Any]:
        """The next page begins behind a message; is that no longer there, at the beginning: nothing is left out."""
        letters = self._ask(lambda connection: _read_all(connection, f"{queue}.XQ"))
        letters.reverse()
        names = [letter["id"] for letter in letters]
        first = names.index(after) + 1 if after in names else 0
        page = letters[first : first + limit]
        return {"jobs": page, "next": page[-1]["id"] if len(letters) > first + limit else None}

    def retry(self, queue: str, ids: Sequence[str] | None) -> int:
        """Each gets one try: it has had its others."""
        return self._ask(lambda connection: _take(connection, f"{queue}.XQ", ids, send_to=queue))

    def flush(self, queue: str, ids: Sequence[str] | None) -> int:
        return self._ask(lambda connection: _take(connection, f"{queue}.XQ", ids))

    def reclaim(self, worker: dict[str, Any]) -> int:  # noqa: ARG002  as all attendants are asked
        return 0

    def _ask(self, question: Callable[[Any], T]) -> T:
        errors = library("pika", "rabbitmq").exceptions
        try:
            return self._kept.ask(question)
        except (errors.AMQPError, OSError) as error:
            raise Unavailable(_in_words(error)) from error


def _bounded(parameters: Any) -> Any:
    """The application's, and one try."""
    bounded = copy.copy(parameters)
    bounded.socket_timeout = bounded.blocked_connection_timeout = _PATIENCE
    bounded.stack_timeout = 2 * _PATIENCE
    bounded.connection_attempts = 1
    return bounded


def _is_lost(connection: Any, _error: BaseException) -> bool:
    return not connection.is_open


def _in_words(error: BaseException) -> str:
    """pika wraps what happened, and often has no words for it."""
    inner = error.args[0] if error.args and isinstance(error.args[0], BaseException) else error
    inner = getattr(inner, "exception", inner)
    return " ".join(str(inner).split()) or f"RabbitMQ does not answer: {type(inner).__name__}"


@contextmanager
def _channel(connection: Any) -> Iterator[Any]:
    """What was got from it and not acknowledged goes back to its place at the end."""
    channel = connection.channel()
    try:
        yield channel
    finally:
        if channel.is_open:
            channel.close()


def _backlog(connection: Any, queue: str) -> Figures:
    dead = _count(connection, f"{queue}.XQ")
    return {"ready": _count(connection, queue), "delayed": None, "reserved": None, "failed": dead}


def _count(connection: Any, queue: str) -> int:
    """Ready ones. A queue that nobody has made has none: workers make theirs."""
    errors = library("pika", "rabbitmq").exceptions
    with _channel(connection) as channel:
        try:
            messages: int = channel.queue_declare(queue, passive=True).method.message_count
        except errors.ChannelClosedByBroker as error:
            if error.reply_code != _NO_SUCH_QUEUE:
                raise Unavailable(f"{error.reply_text} ({error.reply_code})") from error
            return 0
    return messages


def _letters(channel: Any, queue: str, most: int) -> "Iterator[tuple[Any, Any, bytes]]":
    for _ in range(most):
        method, properties, body = channel.basic_get(queue)
        if method is None:
            return
        yield method, properties, body


def _read_all(connection: Any, queue: str) -> list[dict[str, Any]]:
    """Oldest first."""
    most = min(_count(connection, queue), _SHOWN)
    with _channel(connection) as channel:
        found = [(properties, decoded(body)) for _, properties, body in _letters(channel, queue, most)]
    return [
        {"id": message.message_id, **described(message), "failed_at": _died_at(properties)}
        for properties, message in found
        if message is not None
    ]


def _take(connection: Any, queue: str, ids: Sequence[str] | None, send_to: str | None = None) -> int:
    """How many of these were removed; and sent elsewhere first, each confirmed."""
    wanted, many = None if ids is None else set(ids), 0
    with _channel(connection) as channel:
        channel.confirm_delivery()
        for method, properties, body in _letters(channel, queue, _count(connection, queue)):
            message = None if wanted is None else decoded(body)
            if wanted is not None and (message is None or message.message_id not in wanted):
                continue
            if send_to is not None:
                properties.headers = None  # of how it died
                channel.basic_publish("", send_to, body, properties, mandatory=True)
            channel.basic_ack(method.delivery_tag)
            many += 1
            if wanted is not None and many == len(wanted):
                break
    return many


def _died_at(properties: Any) -> float | None:
    deaths = (properties.headers or {}).get("x-death") or [{}]
    at = deaths[0].get("time")
    return None if at is None else float(at.timestamp())
