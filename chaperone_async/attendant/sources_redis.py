"""Backlogs in Redis: the length of a list, what a stream's group was not given yet, what is due in a sorted set."""

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from chaperone_async.attendant import Unavailable
from chaperone_async.attendant.reading import Figures, Kept, Settings, library, plainly

_FIRST_MILLISECONDS = 1e12  # of September 2001: a smaller id of a stream is no time


def reader(settings: Settings, limit: float) -> Callable[[], Figures]:
    address, _, key = str(settings["address"]).partition("#")
    client = Client(address, limit)
    read: dict[str, Callable[[Any, str], Figures]] = {
        "redis_list": _list,
        "redis_stream": lambda redis, stream: _stream(redis, stream, str(settings["group"])),
        "redis_sorted_set": _sorted_set,
    }
    question, name = read[str(settings["kind"])], unquote(key)
    return lambda: client.ask(lambda redis: question(redis, name), name)


class Client:
    """One server's, with a connection that is kept."""

    def __init__(self, address: str, limit: float) -> None:
        self._address, self._limit = address, limit
        self._kept = Kept(self._make, lambda redis: redis.close(), _lost, limit)

    def ask(self, question: Callable[[Any], Figures], key: str) -> Figures:
        library("redis", "redis")
        from redis import RedisError, ResponseError

        def answered(redis: Any) -> Figures:
            try:
                return question(redis)
            except ResponseError as error:
                raise Unavailable(_refused(redis, key, str(error))) from error

        with plainly(self._address, RedisError, OSError, ValueError):
            return self._kept.ask(answered)

    def _make(self) -> Any:
        from redis import Redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        once = Retry(NoBackoff(), 0)
        return Redis.from_url(self._address, socket_timeout=self._limit, socket_connect_timeout=self._limit, retry=once)


def _lost(_client: Any, error: BaseException) -> bool:
    from redis import ConnectionError as Lost

    return isinstance(error, Lost)


def _refused(redis: Any, key: str, why: str) -> str:
    if "WRONGTYPE" not in why:
        return why
    return f"{key} is of another type, a {redis.type(key).decode()}; name the kind of source that fits"


def _list(redis: Any, key: str) -> Figures:
    return {"ready": redis.llen(key)}


def _sorted_set(redis: Any, key: str) -> Figures:
    now = time.time()
    pipe = redis.pipeline()
    pipe.zcard(key)
    pipe.zcount(key, "-inf", now)
    pipe.zrange(key, 0, 0, withscores=True)
    pipe.zrangebyscore(key, f"({now}", "+inf", start=0, num=1, withscores=True)
    every, due, first, later = pipe.execute()
    return {
        "ready": due,
        "delayed": every - due,
        "oldest_age": now - first[0][1] if due else None,
        "next_due": later[0][1] - now if later else None,
    }


def _stream(redis: Any, key: str, group: str) -> Figures:
    """Its length would count what was done long ago: entries stay until they are trimmed."""
    groups = {found["name"].decode(): found for found in redis.xinfo_groups(key)} if redis.exists(key) else None
    if groups is None:
        return {"ready": 0, "reserved": 0}
    if group not in groups:
        known = f"it has {', '.join(sorted(groups))}" if groups else "it has none"
        raise Unavailable(f"the stream {key} has no group {group!r}; {known}")
    found = groups[group]
    if "lag" not in found:
        raise Unavailable(f"{key}: this Redis does not tell what a group has not been given; it takes version 7")
    if found["lag"] is None:
        why = "entries that it had not been given were deleted"
        raise Unavailable(f"{key}: Redis does not know what the group {group!r} has not been given: {why}")
    oldest = _age_after(redis, key, found["last-delivered-id"]) if found["lag"] else None
    return {"ready": found["lag"], "reserved": found["pending"], "oldest_age": oldest}


def _age_after(redis: Any, key: str, last: bytes) -> float | None:
    """Of the first entry that nobody was given: ids begin with Redis' time."""
    entries = redis.xrange(key, min=b"(" + last, count=1)
    milliseconds = int(entries[0][0].partition(b"-")[0]) if entries else 0
    return time.time() - milliseconds / 1000 if milliseconds >= _FIRST_MILLISECONDS else None
