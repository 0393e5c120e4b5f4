"""What a dead Dramatiq worker had in Redis goes back into its queue, at once. Of a queue Q there are, behind the
broker's namespace,

    Q, Q.msgs               the ids of messages that wait, and all messages, those in work too
    Q.DQ, Q.DQ.msgs         the same of what is delayed; workers keep that in memory until it is due
    Q.XQ, Q.XQ.msgs         the dead letters, by when they have died, in milliseconds
    __acks__.WORKER.Q       what a worker has taken and not acknowledged
    __heartbeats__          the workers, by when they were heard of last

A message is in one of Q, an __acks__ and Q.XQ. Of a worker's processes, which bear its name, each is one here.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from chaperone_async.attendant import Unavailable
from chaperone_async.attendant.dramatiq import decoded

DEATHS = "chaperone_deaths"
"""The option of a message that counts the workers it has cost."""


@dataclass(frozen=True)
class Keys:
    namespace: str

    def of(self, queue: str, what: str = "") -> str:
        return f"{self.namespace}:{queue}{what}"

    def dead(self, queue: str) -> tuple[str, str]:
        return self.of(queue, ".XQ"), self.of(queue, ".XQ.msgs")

    def taken(self, worker: str, queue: str) -> str:
        return f"{self.namespace}:__acks__.{worker}.{queue}"

    @property
    def heartbeats(self) -> str:
        return f"{self.namespace}:__heartbeats__"


def reclaim(broker: Any, keys: Keys, worker: dict[str, Any], max_deaths: int) -> int:
    """Dramatiq's own maintenance does it, once they have not been heard of for long enough: so they have not. `broker`
    does that with each command."""
    client, many = broker.client, 0
    names = [name.decode() for name in client.zrange(keys.heartbeats, 0, -1)]
    dead = [name for name in names if name.startswith(f"{worker['id']}.")]
    for name in dead:
        for queue in worker["queues"]:
            if max_deaths and worker.get("blamed", True):
                _count_death(client, keys, name, queue, frozenset(worker["jobs"]), max_deaths)
            many += sum(client.scard(keys.taken(name, each)) for each in (queue, f"{queue}.DQ"))
        client.zadd(keys.heartbeats, {name: 0}, xx=True)
    for queue in worker["queues"] if dead else ():
        broker.do_qsize(queue)
        broker.do_qsize(f"{queue}.DQ")
    return many


def _count_death(client: Any, keys: Keys, worker: str, queue: str, in_work: frozenset[str], most: int) -> None:
    """What it had in work may have been its death. A message that has cost too many workers is a dead letter."""
    from dramatiq.common import current_millis

    taken, messages = keys.taken(worker, queue), keys.of(queue, ".msgs")
    for name in client.smembers(taken):
        message = decoded(client.hget(messages, name) or b"")
        if message is None or message.message_id not in in_work:
            continue
        deaths = int(message.options.get(DEATHS, 0)) + 1
        marked = message.copy(options={DEATHS: deaths}).encode()
        pipe = client.pipeline()
        if deaths < most:
            pipe.hset(messages, name, marked)
        else:
            dead, letters = keys.dead(queue)
            pipe.srem(taken, name)
            pipe.hdel(messages, name)
            pipe.hset(letters, name, marked)
            pipe.zadd(dead, {name: current_millis()})
        pipe.execute()


@contextmanager
def answered() -> Iterator[None]:
    from redis.exceptions import RedisError

    try:
        yield
    except RedisError as error:
        raise Unavailable(" ".join(str(error).split()) or type(error).__name__) from error
