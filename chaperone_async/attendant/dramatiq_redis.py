"""Dramatiq's queues in Redis; what becomes of the dead's jobs is in `dramatiq_reclaim`."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from chaperone_async.attendant.dramatiq import decoded, described
from chaperone_async.attendant.dramatiq_reclaim import Keys, answered, reclaim
from chaperone_async.attendant.reading import Figures
from chaperone_async.attendant.several import together

if TYPE_CHECKING:
    from dramatiq import Message
    from dramatiq.brokers.redis import RedisBroker

_PATIENCE = 5.0  # seconds that Redis may take for one answer
_ALWAYS = 1_000_000  # in a million: on each of our commands, Dramatiq looks after what the dead have left
_LOOKED_AT = 1000  # delayed messages, in search of the first that is due
_AT_ONCE = 500
_REVIVE = """
local many = 0
for _, id in ipairs(ARGV) do
    local message = redis.call("hget", KEYS[2], id)
    if message then
        redis.call("hset", KEYS[4], id, message)
        redis.call("rpush", KEYS[3], id)
        redis.call("hdel", KEYS[2], id)
        many = many + 1
    end
    redis.call("zrem", KEYS[1], id)
end
return many
"""


class OnRedis:
    def __init__(self, broker: "RedisBroker", max_deaths: int) -> None:
        self._broker, self._max_deaths, self._keys = broker, max_deaths, Keys(broker.namespace)
        self._client: Any = broker.client  # redis-py's own types take each answer for one that may be awaited
        broker.maintenance_chance = _ALWAYS
        limits = self._client.connection_pool.connection_kwargs
        for name in ("socket_timeout", "socket_connect_timeout"):
            limits[name] = limits.get(name) or _PATIENCE

    def backlog(self, queues: Sequence[str]) -> Figures:
        with answered():
            return together([self._backlog(queue) for queue in queues])

    def failed(self, queue: str, limit: int, after: str | None) -> dict[str, Any]:
        """The next page begins behind a message; is that no longer there, at the beginning: nothing is left out."""
        with answered():
            dead, messages = self._keys.dead(queue)
            rank = None if after is None else self._client.zrevrank(dead, after)
            first = 0 if rank is None else int(rank) + 1
            found = self._client.zrevrange(dead, first, first + limit, withscores=True)
            texts = self._client.hmget(messages, [name for name, _ in found[:limit]]) if found else []
            told = [
                {"id": name.decode(), "queue": queue, **_described(text), "failed_at": at / 1000}
                for (name, at), text in zip(found, texts, strict=False)
                if text is not None
            ]
            return {"jobs": told, "next": found[limit - 1][0].decode() if len(found) > limit else None}

    def retry(self, queue: str, ids: Sequence[str] | None) -> int:
        """Each gets one try: it has had its others."""
        with answered():
            dead, messages = self._keys.dead(queue)
            chosen = self._client.zrange(dead, 0, -1) if ids is None else list(ids)
            revive = self._client.register_script(_REVIVE)
            keys = [dead, messages, self._keys.of(queue), self._keys.of(queue, ".msgs")]
            batches = [chosen[start : start + _AT_ONCE] for start in range(0, len(chosen), _AT_ONCE)]
            return sum(int(revive(keys=keys, args=batch)) for batch in batches)

    def flush(self, queue: str, ids: Sequence[str] | None) -> int:
        with answered():
            dead, messages = self._keys.dead(queue)
            pipe = self._client.pipeline()
            if ids is None:
                pipe.zcard(dead)
                pipe.delete(dead, messages)
            elif ids:
                pipe.zrem(dead, *ids)
                pipe.hdel(messages, *ids)
            return int((pipe.execute() or [0])[0])

    def reclaim(self, worker: dict[str, Any]) -> int:
        with answered():
            return reclaim(self._broker, self._keys, worker, self._max_deaths)

    def _backlog(self, queue: str) -> Figures:
        waiting, messages, delayed = (
            self._keys.of(queue),
            self._keys.of(queue, ".msgs"),
            self._keys.of(queue, ".DQ.msgs"),
        )
        pipe = self._client.pipeline()
        pipe.llen(waiting)
        pipe.hlen(messages)
        pipe.hlen(delayed)
        pipe.zcard(self._keys.dead(queue)[0])
        pipe.lindex(waiting, 0)
        ready, all_messages, later, dead, first = pipe.execute()
        oldest = None if first is None else decoded(self._client.hget(messages, first) or b"")
        return {
            "ready": ready,
            "delayed": later,
            "reserved": max(0, all_messages - ready),
            "failed": dead,
            "oldest_age": None if oldest is None else max(0.0, time.time() - _queued_at(oldest)),
            "next_due": self._next_due(delayed) if later else None,
        }

    def _next_due(self, delayed: str) -> float | None:
        """Of very many, that of some."""
        _, found = self._client.hscan(delayed, count=_LOOKED_AT)
        messages = [message for text in found.values() if (message := decoded(text)) is not None]
        dues = [due for message in messages if (due := message.options.get("eta")) is not None]
        return max(0.0, min(dues) / 1000 - time.time()) if dues else None


def _described(text: bytes) -> dict[str, Any]:
    message = decoded(text)
    return {"error": "it is no message of Dramatiq's"} if message is None else described(message)


def _queued_at(message: "Message[Any]") -> float:
    """In seconds since the epoch; of what was delayed before, when it was put off."""
    since: int = max(message.message_timestamp, message.options.get("requeue_timestamp", 0))
    return since / 1000
