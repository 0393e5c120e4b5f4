"""Celery's queues, through the application's own settings: their backlog at any broker; in Redis also what becomes due,
and what goes back of a dead worker. Failed jobs, which Celery keeps nowhere, are sent again by name.
"""

import json
from contextlib import contextmanager
from datetime import UTC, datetime
from time import time

from celery.app.utils import find_app
from kombu.exceptions import OperationalError
from kombu.transport import virtual
from kombu.utils.json import dumps, loads

from chaperone_async.attendant import Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

HOLDER = "chaperone"
"""As the agent writes it."""
_PATIENCE = 4.0  # seconds that the broker has for one answer
_FEW = 100  # messages that are looked at one by one
_LIMITS = {
    "redis": {"socket_timeout": _PATIENCE, "socket_connect_timeout": _PATIENCE},
    "amqp": {"read_timeout": _PATIENCE, "write_timeout": _PATIENCE},
}
# Only if it is still the entry that was looked at: by now the message may be another worker's.
_MOVE = """
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
for number = 3, #KEYS do redis.call(ARGV[3], KEYS[number], ARGV[4]) end
return 1
"""


def attend(settings: "dict[str, Any]") -> "Attendant":
    name = settings["app"]
    try:
        app = find_app(name)
    except Exception as error:  # anybody's modules are imported here
        raise Unavailable(f"cannot load the application {name!r}: {type(error).__name__}: {error}") from error
    return Attendant(app)


class Attendant:
    def __init__(self, app: "Any") -> None:
        self._app = app
        self._idle: list[Any] = []  # connections; no two calls share one

    def backlog(self, queues: "list[str]") -> "dict[str, Any]":
        with self._connected() as connection:
            if connection.transport.driver_type == "redis":
                return Redis(self._app, connection.default_channel).backlog(queues)
            ready = [_ready(connection, queue) for queue in queues]
            return {"ready": None if None in ready else sum(ready)}

    def reclaim(self, worker: "dict[str, Any]") -> int:
        """Other brokers see that the connection has gone, and do it by themselves."""
        with self._connected() as connection:
            if connection.transport.driver_type != "redis":
                return 0
            return Redis(self._app, connection.default_channel).put_back(worker["id"], worker["jobs"])

    def send(self, name: str, args: "list[Any]", kwargs: "dict[str, Any]", queue: str | None) -> str:
        args, kwargs = loads(json.dumps([args, kwargs]))  # with times, uuids and the like as what they were
        try:
            return str(self._app.send_task(name, args, kwargs, queue=queue or None).id)
        except (OperationalError, OSError) as error:
            raise Unavailable(f"cannot send {name}: {error}") from error

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


class Redis:
    """Kombu's queues in Redis: a list for each priority, the next at its right end. What a worker has been given and
    has not acknowledged is in one hash for all."""

    def __init__(self, app: "Any", channel: "Any") -> None:
        from redis import Redis as Client

        for queue in app.amqp.queues.values():  # kombu finds a message's queues only by exchanges that it knows
            if queue.exchange is not None and queue.exchange.name:
                channel.exchange_declare(exchange=queue.exchange.name, type=queue.exchange.type)
        self._channel = channel
        self._client: Any = Client(connection_pool=channel.pool)  # kombu's puts the prefix before some keys only
        self._prefix = channel.global_keyprefix
        self._held = self._prefix + channel.unacked_key
        self._index = self._prefix + channel.unacked_index_key

    def backlog(self, queues: "list[str]") -> "dict[str, Any]":
        """A message with an eta waits in a list until a worker takes it, and with that worker until it is due: neither
        is ready. Which ones these are is told as long as there are few."""
        lists = [self._list(queue, step) for queue in queues for step in self._channel.priority_steps]
        with self._client.pipeline(transaction=False) as pipe:
            for name in lists:
                pipe.llen(name)
            *lengths, held = pipe.hlen(self._held).execute()
            if sum(lengths) > _FEW or held > _FEW:
                return {"ready": sum(lengths)}
            for name in lists:
                pipe.lrange(name, 0, -1)
            *found, entries = pipe.hvals(self._held).execute()
        waiting = [_until_due(loads(message)) for messages in found for message in messages]
        given = [
            _until_due(message)
            for message, exchange, key in map(loads, entries)
            if not set(queues).isdisjoint(self._queues(exchange, key))
        ]
        delays = [delay for delay in (*waiting, *given) if delay > 0]
        return {
            "ready": sum(delay <= 0 for delay in waiting),
            "delayed": len(delays),
            "reserved": sum(delay <= 0 for delay in given),
            "next_due": min(delays, default=None),
        }

    def put_back(self, worker_id: str, running: "Iterable[str]") -> int:
        """The jobs it had come last, for one of them may be why it died; those it had not begun are the next again."""
        mark, suspects = dumps({HOLDER: worker_id})[1:-1].encode(), set(running)
        held = [
            (self._client.zscore(self._index, tag) or 0.0, tag, entry)
            for tag, entry in self._client.hscan_iter(self._held, count=500)
            if mark in entry and loads(entry)[0].get(HOLDER) == worker_id
        ]
        return sum(self._move(tag, entry, suspects) for _, tag, entry in sorted(held, reverse=True))

    def _move(self, tag: bytes, entry: bytes, suspects: "set[str]") -> int:
        message, exchange, key = loads(entry)
        lists = [self._list(queue, self._priority(message)) for queue in self._queues(exchange, key)]
        if not lists:
            return 0  # nobody consumes it any more: it stays where it is
        del message[HOLDER]
        message.setdefault("headers", {})["redelivered"] = True
        message["properties"]["delivery_info"]["redelivered"] = True
        push = "LPUSH" if message["headers"].get("id") in suspects else "RPUSH"
        keys = (self._held, self._index, *lists)
        return int(self._client.eval(_MOVE, len(keys), *keys, tag, entry, push, dumps(message)))

    def _list(self, queue: str, step: int) -> str:
        return f"{self._prefix}{self._channel._q_for_pri(queue, step)}"  # noqa: SLF001  its name is kombu's affair

    def _priority(self, message: "dict[str, Any]") -> int:
        return int(self._channel._get_message_priority(message, reverse=False))  # noqa: SLF001  as above

    def _queues(self, exchange: str, key: str) -> "list[str]":
        return list(self._channel._lookup(exchange, key))  # noqa: SLF001  as above


def _until_due(message: "dict[str, Any]") -> float:
    """Seconds; 0: it is due."""
    eta = (message.get("headers") or {}).get("eta")
    if not eta:
        return 0.0
    due = datetime.fromisoformat(eta)
    return max(0.0, (due if due.tzinfo else due.replace(tzinfo=UTC)).timestamp() - time())
