"""Celery's queues in Redis, as kombu keeps them: what becomes due later, and what goes back of a dead worker."""

from datetime import UTC, datetime
from time import time

from kombu.utils.json import dumps, loads
from redis import Redis

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterable
    from typing import Any

HOLDER, DEATHS = "chaperone", "chaperone_deaths"
"""Keys of ours in a message that Redis has: the worker that it was given to, as the agent writes it; and how many have
died with it."""
_FEW = 100  # messages that are looked at one by one
# Only if it is still the entry that was looked at: by now the message may be another worker's.
_MOVE = """
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
for number = 3, #KEYS do redis.call(ARGV[3], KEYS[number], ARGV[4]) end
return 1
"""


class RedisQueues:
    """Kombu's queues in Redis: a list for each priority, the next at its right end. What a worker has been given and
    has not acknowledged is in one hash for all."""

    def __init__(self, app: "Any", channel: "Any") -> None:
        for queue in app.amqp.queues.values():  # kombu finds a message's queues only by exchanges that it knows
            if queue.exchange:
                queue.exchange(channel).declare()
        self._channel = channel
        self._client: Any = Redis(connection_pool=channel.pool)  # kombu's puts the prefix before some keys only
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

    def put_back(
        self, worker_id: str, begun: "Iterable[str]", max_deaths: int = 0, *, but: "Container[str]" = ()
    ) -> int:
        """What this worker had been given, apart from the jobs `but`. Those that it had begun come last, for one of
        them may be why it died; the others are the next again. One that has cost too many workers stays where it is:
        Redis gives it back when its visibility timeout is over."""
        mark, begun = dumps({HOLDER: worker_id})[1:-1].encode(), set(begun)
        held = [
            (self._client.zscore(self._index, tag) or 0.0, tag, entry)
            for tag, entry in self._client.hscan_iter(self._held, count=500)
            if mark in entry and loads(entry)[0].get(HOLDER) == worker_id
        ]
        many = 0
        for _, tag, entry in sorted(held, reverse=True):
            message, exchange, key = loads(entry)
            del message[HOLDER]
            job, push = message["headers"].get("id"), "RPUSH"
            if job in begun:
                push = "LPUSH"
                message[DEATHS] = message.get(DEATHS, 0) + 1
            if job not in but and not 0 < max_deaths <= message.get(DEATHS, 0):
                many += self._move(tag, entry, push, message, self._queues(exchange, key))
        return many

    def _move(self, tag: bytes, entry: bytes, push: str, message: "dict[str, Any]", queues: "list[str]") -> int:
        if not queues:
            return 0  # nobody consumes it any more: it stays where it is
        message["headers"]["redelivered"] = message["properties"]["delivery_info"]["redelivered"] = True
        keys = (self._held, self._index, *(self._list(queue, self._priority(message)) for queue in queues))
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
