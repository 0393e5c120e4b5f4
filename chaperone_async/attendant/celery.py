"""Celery's queues, through the application's own settings, at whichever broker. Failed jobs, which Celery keeps
nowhere, are sent again by name."""

import json
from contextlib import contextmanager

from celery.app.utils import find_app
from kombu.exceptions import OperationalError
from kombu.transport import virtual
from kombu.utils.json import loads

from chaperone_async.attendant import Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from chaperone_async.attendant.celery_redis import RedisQueues

_PATIENCE = 4.0  # seconds that the broker has for one answer
_LIMITS = {
    "redis": {"socket_timeout": _PATIENCE, "socket_connect_timeout": _PATIENCE},
    "amqp": {"read_timeout": _PATIENCE, "write_timeout": _PATIENCE},
}


def attend(settings: "dict[str, Any]") -> "Attendant":
    name = settings["app"]
    try:
        app = find_app(name)
    except Exception as error:  # anybody's modules are imported here
        raise Unavailable(f"cannot load the application {name!r}: {type(error).__name__}: {error}") from error
    return Attendant(app, int(settings["max_deaths"]))


class Attendant:
    def __init__(self, app: "Any", max_deaths: int = 0) -> None:
        self._app = app
        self._max_deaths = max_deaths
        self._idle: list[Any] = []  # connections; no two calls share one

    def backlog(self, queues: "list[str]") -> "dict[str, Any]":
        with self._connected() as connection:
            if connection.transport.driver_type == "redis":
                return self._redis(connection).backlog(queues)
            ready = [_ready(connection, queue) for queue in queues]
            return {"ready": None if None in ready else sum(ready)}

    def reclaim(self, worker: "dict[str, Any]") -> int:
        """Other brokers see that the connection has gone, and do it by themselves."""
        with self._connected() as connection:
            if connection.transport.driver_type != "redis":
                return 0
            suspects = worker["jobs"] if worker.get("blamed", True) else []
            return self._redis(connection).put_back(worker["id"], suspects, self._max_deaths)

    def send(self, name: str, args: "list[Any]", kwargs: "dict[str, Any]", queue: str | None) -> str:
        args, kwargs = loads(json.dumps([args, kwargs]))  # with times, uuids and the like as what they were
        try:
            return str(self._app.send_task(name, args, kwargs, queue=queue or None).id)
        except (OperationalError, OSError) as error:
            raise Unavailable(f"cannot send {name}: {error}") from error

    def _redis(self, connection: "Any") -> "RedisQueues":
        from chaperone_async.attendant.celery_redis import RedisQueues

        return RedisQueues(self._app, connection.default_channel)

    @contextmanager
    def _connected(self) -> "Iterator[Any]":
        connection = self._take()
        try:
            connection.ensure_connection(max_retries=max(0, len(connection.alt) - 1))  # each of several servers once
            yield connection
        except (OperationalError, *connection.connection_errors, *connection.channel_errors) as error:
            connection.collect()
            raise Unavailable(f"cannot ask {connection.as_uri()}: {error}") from error
        except BaseException:
            connection.collect()
            raise
        self._idle.append(connection)

    def _take(self) -> "Any":
        try:
            return self._idle.pop()
        except IndexError:
            kind = self._app.connection_for_read().transport.driver_type
            return self._app.connection_for_read(connect_timeout=_PATIENCE, transport_options=_LIMITS.get(kind, {}))


def _ready(connection: "Any", queue: str) -> int | None:
    """None: this broker does not tell. A queue that nobody has declared yet holds nothing."""
    with connection.channel() as channel:
        if getattr(type(channel), "_size", None) is virtual.Channel._size:  # noqa: SLF001  which says 0 of anything
            return None
        try:
            return int(channel.queue_declare(queue, passive=True).message_count)
        except connection.channel_errors as error:
            if str(getattr(error, "reply_code", "")) != "404":
                raise
            return 0
