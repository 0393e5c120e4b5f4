"""The messages that are ready in a RabbitMQ queue, as the broker counts them at this moment: by a passive declaration,
since the management API lags behind by seconds. What its consumers have been given, and not acknowledged, it does not
tell that way.

pika's blocking connection may wait for ever. Here its loop runs only while something is asked, and for so long.
"""

from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from chaperone_async.attendant import Unavailable
from chaperone_async.attendant.reading import Figures, Kept, Settings, library, plainly

_PARTING = 1.0  # seconds that a farewell may take


def reader(settings: Settings, limit: float) -> Callable[[], Figures]:
    address, _, queue = str(settings["address"]).partition("#")
    kept = Kept(lambda: Conversation(address, limit), Conversation.close, _lost, limit)
    name = unquote(queue)

    def read() -> Figures:
        errors = library("pika", "rabbitmq").exceptions
        with plainly(address, errors.AMQPError, OSError):
            return {"ready": kept.ask(lambda conversation: conversation.ready(name))}

    return read


def _lost(_conversation: "Conversation", error: BaseException) -> bool:
    errors = library("pika", "rabbitmq").exceptions
    return isinstance(error, errors.AMQPConnectionError | errors.AMQPChannelError)


class Conversation:
    """One connection, with one channel: a refusal closes the channel alone."""

    def __init__(self, address: str, limit: float) -> None:
        pika = library("pika", "rabbitmq")
        try:
            parameters = pika.URLParameters(address)
        except (ValueError, TypeError) as error:
            raise Unavailable(f"the address is none of RabbitMQ: {error}") from error
        parameters.connection_attempts = 1
        parameters.socket_timeout = parameters.stack_timeout = limit
        parameters.heartbeat = 0  # between two readings nobody would send any
        self._limit = limit
        self._answer: Any = None
        self._channel: Any = None
        self._connection = pika.SelectConnection(
            parameters, on_open_callback=self._told, on_open_error_callback=self._lost, on_close_callback=self._lost
        )
        self._wait(limit)

    def ready(self, queue: str) -> int:
        if self._channel is None or not self._channel.is_open:
            self._connection.channel(on_open_callback=self._told)
            self._channel = self._wait(self._limit)
            self._channel.add_on_close_callback(self._lost)
        self._channel.queue_declare(queue, passive=True, callback=self._told)
        frame = self._wait(self._limit)
        messages: int = frame.method.message_count
        return messages

    def close(self) -> None:
        try:
            if self._connection.is_open:
                self._connection.close()
                self._wait(_PARTING)
        finally:
            self._connection.ioloop.close()

    def _wait(self, seconds: float) -> Any:
        """Run the loop until there is an answer. After a TimeoutError the connection is of no use: the answer may still
        come, and would be taken for the next one's."""
        self._answer = None
        loop = self._connection.ioloop
        timer = loop.call_later(seconds, lambda: self._told(TimeoutError()))
        loop.start()
        loop.remove_timeout(timer)
        answer, self._answer = self._answer, None
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def _told(self, answer: Any) -> None:
        self._answer = answer
        self._connection.ioloop.stop()

    def _lost(self, _who: Any, why: BaseException) -> None:
        self._told(_plain(why))


def _plain(why: Any) -> BaseException:
    """The cause, out of its wrappings. A refusal by the broker is an answer: 404, there is no such queue."""
    errors = library("pika", "rabbitmq").exceptions
    while inner := getattr(why, "exceptions", None) or getattr(why, "exception", None) or why.args[:1]:
        deepest = inner[-1] if isinstance(inner, list | tuple) else inner
        if not isinstance(deepest, BaseException):
            break
        why = deepest
    if isinstance(why, errors.ChannelClosedByBroker):
        return Unavailable(f"{why.reply_text} ({why.reply_code})")
    return why if isinstance(why, errors.AMQPError | OSError) else errors.AMQPConnectionError(str(why))
