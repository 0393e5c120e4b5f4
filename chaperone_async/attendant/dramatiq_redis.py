"""Dramatiq's queues in Redis. Of a queue Q there are, behind the broker's namespace,

    Q, Q.msgs               the ids of messages that wait, and all messages, those in work too
    Q.DQ, Q.DQ.msgs         the same of what is delayed; workers keep that in memory until it is due
    Q.XQ, Q.XQ.msgs         the dead letters, by when they have died, in milliseconds
    __acks__.WORKER.Q       what a worker has taken and not acknowledged
    __heartbeats__          the workers, by when they were heard of last

A message is in one of Q, an __acks__ and Q.XQ.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from chaperone_async.attendant import Unavailable
from chaperone_async.attendant.dramatiq import described
from chaperone_async.attendant.reading import Figures
from chaperone_async.attendant.several import together

if TYPE_CHECKING:
    from dramatiq import Message
    from dramatiq.brokers.redis import RedisBroker

DEATHS = "chaperone_deaths"
"""The option of a message that counts the workers it has cost."""
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
        self._broker, self._max_deaths = broker, max_deaths
        self._client: Any = broker.client  # redis-py's own types take each answer for one that may be awaited
        broker.maintenance_chance = _ALWAYS
        limits = self._client.connection_pool.connection_kwargs
        for name in ("socket_timeout", "socket_connect_timeout"):
            limits[name] = limits.get(name) or _PATIENCE

    def backlog(self, queues: Sequence[str]) -> Figures:
        with _answered():
            return together([self._backlog(queue) for queue in queues])

    def failed(self, queue: str, limit: int, after: str | None) -> dict[str, Any]:
        """The next page begins behind a message; is that no longer there, at the beginning: nothing is left out."""
        with _answered():
            dead, messages = self._dead(queue)
            rank = None if after is None else self._client.zrevrank(dead, after)
            first = 0 if rank is None else int(rank) + 1
            found = self._client.zrevrange(dead, first, first + limit, withscores=True)
            texts = self._client.hmget(messages, [name for name, _ in found[:limit]]) if found else []
            told = [
                {"id": name.decode(), **described(_decoded(text)), "failed_at": at / 1000}
                for (name, at), text in zip(found, texts, strict=False)
                if text is not None
            ]
            return {"jobs": told, "next": found[limit - 1][0].decode() if len(found) > limit else None}

    def retry(self, queue: str, ids: Sequence[str] | None) -> int:
        """Each gets one try: it has had its others."""
        with _answered():
            dead, messages = self._dead(queue)
            chosen = self._client.zrange(dead, 0, -1) if ids is None else list(ids)
            revive = self._client.register_script(_REVIVE)
            keys = [dead, messages, self._key(queue), self._key(queue, ".msgs")]
            batches = [chosen[start : start + _AT_ONCE] for start in range(0, len(chosen), _AT_ONCE)]
            return sum(int(revive(keys=keys, args=batch)) for batch in batches)

    def flush(self, queue: str, ids: Sequence[str] | None) -> int:
        with _answered():
            dead, messages = self._dead(queue)
            pipe = self._client.pipeline()
            if ids is None:
                pipe.zcard(dead)
                pipe.delete(dead, messages)
            elif ids:
                pipe.zrem(dead, *ids)
                pipe.hdel(messages, *ids)
            return int((pipe.execute() or [0])[0])

    def reclaim(self, worker: dict[str, Any]) -> int:
        """Dramatiq's own maintenance does it, as soon as the worker's processes, which bear its name, have not been
        heard of for long enough."""
        heartbeats, sign = f"{self._broker.namespace}:__heartbeats__", f"{worker['id']}."
        many = 0
        with _answered():
            names = [name.decode() for name in self._client.zrange(heartbeats, 0, -1)]
            dead = [name for name in names if name.startswith(sign)]
            for name in dead:
                for queue in worker["queues"]:
                    self._count_death(self._acks(name, queue), queue, frozenset(worker["jobs"]))
                    many += sum(self._client.scard(self._acks(name, each)) for each in (queue, f"{queue}.DQ"))
                self._client.zadd(heartbeats, {name: 0}, xx=True)
            for queue in worker["queues"] if dead else ():
                self._broker.do_qsize(queue)
                self._broker.do_qsize(f"{queue}.DQ")
        return many

    def _count_death(self, acks: str, queue: str, in_work: frozenset[str]) -> None:
        """What it had in work may have been its death. A message that has cost too many workers is a dead letter."""
        from dramatiq.common import current_millis

        messages = self._key(queue, ".msgs")
        for name in self._client.smembers(acks) if self._max_deaths else ():
            text = self._client.hget(messages, name)
            message = None if text is None else _decoded(text)
            if message is None or message.message_id not in in_work:
                continue
            deaths = int(message.options.get(DEATHS, 0)) + 1
            marked = message.copy(options={DEATHS: deaths}).encode()
            pipe = self._client.pipeline()
            if deaths < self._max_deaths:
                pipe.hset(messages, name, marked)
            else:
                dead, letters = self._dead(queue)
                pipe.srem(acks, name)
                pipe.hdel(messages, name)
                pipe.hset(letters, name, marked)
                pipe.zadd(dead, {name: current_millis()})
            pipe.execute()

    def _backlog(self, queue: str) -> Figures:
        waiting, messages, delayed = self._key(queue), self._key(queue, ".msgs"), self._key(queue, ".DQ.msgs")
        pipe = self._client.pipeline()
        pipe.llen(waiting)
        pipe.hlen(messages)
        pipe.hlen(delayed)
        pipe.zcard(self._dead(queue)[0])
        pipe.lindex(waiting, 0)
        ready, all_messages, later, dead, first = pipe.execute()
        text = None if first is None else self._client.hget(messages, first)
        return {
            "ready": ready,
            "delayed": later,
            "reserved": max(0, all_messages - ready),
            "failed": dead,
            "oldest_age": None if text is None else max(0.0, time.time() - _queued_at(_decoded(text))),
            "next_due": self._next_due(delayed) if later else None,
        }

    def _next_due(self, delayed: str) -> float | None:
        """Of very many, that of some."""
        _, found = self._client.hscan(delayed, count=_LOOKED_AT)
        dues = [due for text in found.values() if (due := _decoded(text).options.get("eta")) is not None]
        return max(0.0, min(dues) / 1000 - time.time()) if dues else None

    def _key(self, queue: str, what: str = "") -> str:
        return f"{self._broker.namespace}:{queue}{what}"

    def _acks(self, worker: str, queue: str) -> str:
        return f"{self._broker.namespace}:__acks__.{worker}.{queue}"

    def _dead(self, queue: str) -> tuple[str, str]:
        return self._key(queue, ".XQ"), self._key(queue, ".XQ.msgs")


def _queued_at(message: "Message[Any]") -> float:
    """In seconds since the epoch; of what was delayed before, when it was put off."""
    since: int = max(message.message_timestamp, message.options.get("requeue_timestamp", 0))
    return since / 1000


def _decoded(text: bytes) -> "Message[Any]":
    from dramatiq.errors import DecodeError
    from dramatiq.message import Message

    try:
        return Message.decode(text)
    except DecodeError as error:
        raise Unavailable(f"a message is none of Dramatiq's, as the application encodes them: {error}") from error


@contextmanager
def _answered() -> Iterator[None]:
    from redis.exceptions import RedisError

    try:
        yield
    except RedisError as error:
        raise Unavailable(" ".join(str(error).split()) or type(error).__name__) from error
