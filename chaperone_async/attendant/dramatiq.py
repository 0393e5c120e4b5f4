"""Dramatiq's queues: those of the application's broker, on Redis or RabbitMQ."""

import traceback
from functools import reduce
from importlib import import_module
from typing import TYPE_CHECKING, Any

from chaperone_async.attendant import Refused, Unavailable
from chaperone_async.attendant.reading import Settings, library

if TYPE_CHECKING:
    from dramatiq import Broker, Message


def attend(settings: Settings) -> Any:
    library("dramatiq", "dramatiq")
    broker: Any = load(settings["app"])
    if hasattr(broker, "broker_id") and hasattr(broker, "client"):
        from chaperone_async.attendant.dramatiq_redis import OnRedis

        return OnRedis(broker, int(settings["max_deaths"]))
    if hasattr(broker, "parameters"):
        from chaperone_async.attendant.dramatiq_rabbitmq import OnRabbitmq

        return OnRabbitmq(broker)
    raise Refused(f"nothing is known of the queues of a {type(broker).__name__}: it is neither Redis nor RabbitMQ")


def load(modules: list[str]) -> "Broker":
    """As Dramatiq's own command line does: the first module has the broker, or a function that makes it, or sets the
    one that all share."""
    import dramatiq

    name, _, path = modules[0].partition(":")
    try:
        module = import_module(name)
        named: Any = reduce(getattr, path.split("."), module) if path else None
        if callable(named):
            named()
        for further in modules[1:]:
            import_module(further)
    except Exception as error:
        traceback.print_exc()
        raise Unavailable(f"cannot load {modules[0]}: {type(error).__name__}: {error}") from error
    return named if isinstance(named, dramatiq.Broker) else dramatiq.get_broker()


def decoded(body: bytes) -> "Message[Any] | None":
    """None: it is none of Dramatiq's, as the application encodes them."""
    from dramatiq.errors import DecodeError
    from dramatiq.message import Message

    try:
        return Message.decode(body)
    except DecodeError:
        return None


def described(message: "Message[Any]") -> dict[str, Any]:
    """A dead letter is the message as it was sent last: before the try that it has died of, so that the error is that
    of the try before, where there was one."""
    words = [*map(repr, message.args), *(f"{name}={value!r}" for name, value in message.kwargs.items())]
    trace = str(message.options.get("traceback") or "")
    return {
        "queue": message.queue_name,
        "name": message.actor_name,
        "args": ", ".join(words),
        "error": next((line for line in reversed(trace.splitlines()) if line.strip()), None),
        "attempts": int(message.options.get("retries", 0)) + 1,
    }
