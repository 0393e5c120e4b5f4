"""Of taskiq's queues in Redis: a list, or a stream with a group, whose consumers are our workers.

A list forgets a task when it gives it out. A stream keeps it for its consumer until that has acknowledged it: what a
dead one had is added to the stream once more. Where other groups read the same stream, and would have it twice, it is
left for the living to claim, as taskiq has them do it; should a worker have died in the middle of claiming, though, the
lock that it held keeps them from it for ever. Of any other broker nothing is known.
"""

import time

from redis.exceptions import RedisError, ResponseError
from taskiq import AsyncBroker
from taskiq.kicker import AsyncKicker

from chaperone_async.attendant import Refused, Unavailable
from chaperone_async.attendant.deaths import Deaths
from chaperone_async.attendant.loop import Loop, check_queue, load
from chaperone_async.attendant.several import together

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PARKED = "chaperone"
"""The consumer whose messages are to be claimed."""
_RECLAIM = 9.0
_SEND = 30.0
_PAGE = 1000


def attend(settings: "dict[str, Any]") -> "Attendant":
    found = load(settings["app"])
    broker = found() if callable(found) and not isinstance(found, AsyncBroker) else found
    if not isinstance(broker, AsyncBroker):
        raise Refused(f"{settings['app']} is a {type(broker).__name__}, not a broker of taskiq")
    return Attendant(broker, settings.get("modules") or [], Deaths(settings.get("max_deaths", 0)))


class Attendant:
    def __init__(self, broker: "Any", modules: "list[str]", deaths: Deaths) -> None:
        self._broker = broker
        self._deaths = deaths
        self._modules = modules
        self._loop = Loop(RedisError)
        self._has_started = False
        names = {kind.__name__ for kind in type(broker).__mro__}
        self._is_list, self._is_stream = "ListQueueBroker" in names, "RedisStreamBroker" in names

    def backlog(self, queues: "list[str]") -> "dict[str, Any]":
        if self._is_list:
            check_queue(queues[0], self._broker.queue_name)
            return self._loop.run(self._list())
        if self._is_stream:
            check_queue(queues[0], self._broker.queue_name)
            return self._loop.run(self._streams())
        return {}

    def reclaim(self, worker: "dict[str, Any]") -> int:
        if self._is_stream:
            suspects = worker["jobs"] if worker.get("blamed", True) else []
            return self._loop.run(self._reclaim(worker["id"], frozenset(suspects)), _RECLAIM)
        lost = len(worker["jobs"])
        if self._is_list and lost:
            what = "1 task is lost" if lost == 1 else f"{lost} tasks are lost"
            raise Refused(f"{what}: a Redis list forgets a task when it gives it out; use a RedisStreamBroker")
        return 0

    def send(self, name: str, args: "list[Any]", kwargs: "dict[str, Any]", queue: str) -> str:
        own = getattr(self._broker, "queue_name", queue)
        check_queue(queue, own)
        return self._loop.run(self._send(name, args, kwargs), _SEND)

    def _redis(self) -> "Any":
        from redis.asyncio import Redis

        return Redis(connection_pool=self._broker.connection_pool)

    async def _list(self) -> "dict[str, Any]":
        return {"ready": await self._redis().llen(self._broker.queue_name)}

    async def _streams(self) -> "dict[str, Any]":
        redis = self._redis()
        return together([await self._stream(redis, stream) for stream in self._names()])

    def _names(self) -> "set[str]":
        return {self._broker.queue_name, *self._broker.additional_streams}

    async def _stream(self, redis: "Any", stream: str) -> "dict[str, Any]":
        try:
            groups = await redis.xinfo_groups(stream)
        except ResponseError as error:
            if "no such key" in str(error).lower():
                return {"ready": 0, "reserved": 0}
            raise
        wanted = self._broker.consumer_group_name.encode()
        group = next((group for group in groups if group["name"] == wanted), None)
        if group is None:  # the first worker makes it
            return {"ready": None, "reserved": 0}
        pending = await redis.xpending(stream, wanted)
        parked = sum(int(each["pending"]) for each in pending["consumers"] if each["name"] == PARKED.encode())
        lag = group.get("lag")  # nobody can tell of a group that began in the middle of the stream; Redis 6 never can
        first = await redis.xrange(stream, min=b"(" + group["last-delivered-id"], count=1)
        return {
            "ready": None if lag is None else int(lag) + parked,
            "reserved": int(pending["pending"]) - parked,
            "oldest_age": time.time() - int(first[0][0].split(b"-")[0]) / 1000 if first else None,
        }

    async def _reclaim(self, worker_id: str, suspects: frozenset[str]) -> int:
        """`suspects`: the tasks that it had begun. What it had only fetched has cost it nothing."""
        broker, redis, many = self._broker, self._redis(), 0
        group = broker.consumer_group_name
        for stream in self._names():
            groups = await redis.xinfo_groups(stream) if await redis.exists(stream) else []
            if group.encode() not in {each["name"] for each in groups}:
                continue
            is_shared = len(groups) > 1
            while left := await redis.xpending_range(stream, group, "-", "+", _PAGE, consumername=worker_id):
                for each in left:
                    many += await self._put_back(redis, stream, each["message_id"], suspects, is_shared=is_shared)
            await redis.xgroup_delconsumer(stream, group, worker_id)
        return many

    async def _put_back(
        self, redis: "Any", stream: str, number: bytes, suspects: frozenset[str], *, is_shared: bool
    ) -> int:
        broker = self._broker
        group = broker.consumer_group_name
        found = await redis.xrange(stream, number, number)
        if not found:  # the stream has become too long for it
            await redis.xack(stream, group, number)
            return 0
        fields = found[0][1]
        task = self._task_of(fields, number)
        if self._deaths.is_last(task, blamed=task in suspects):  # it waits as taskiq alone has it wait
            await redis.xclaim(stream, group, PARKED, 0, [number], justid=True)
            return 0
        if is_shared:
            await redis.xclaim(stream, group, PARKED, 0, [number], idle=broker.idle_timeout + 1000, justid=True)
        else:
            await redis.pipeline(transaction=True).xadd(stream, fields).xack(stream, group, number).execute()
        return 1

    def _task_of(self, fields: "dict[bytes, bytes]", number: bytes) -> str:
        try:
            return str(self._broker.formatter.loads(message=fields[b"data"]).task_id)
        except Exception:  # noqa: BLE001  whatever somebody has put into the stream: a worker will say what it thinks of it
            return number.decode()

    async def _send(self, name: str, args: "list[Any]", kwargs: "dict[str, Any]") -> str:
        if not self._has_started:
            self._import_tasks()
            await self._broker.startup()
            self._has_started = True
        task = self._broker.find_task(name)
        labels = dict(task.labels) if task is not None else {}
        kicker: AsyncKicker[Any, Any] = AsyncKicker(name, self._broker, labels)
        sent = await kicker.kiq(*args, **kwargs)
        return sent.task_id

    def _import_tasks(self) -> None:
        """What else a task is sent with is known where it is defined."""
        from importlib import import_module

        for module in self._modules:
            try:
                import_module(module)
            except Exception as error:  # an application may raise anything
                raise Unavailable(f"cannot load {module}: {type(error).__name__}: {error}") from error
