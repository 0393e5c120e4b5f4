"""What a dead RQ worker had goes back to the front of its queue, at once.

    it had begun with it     the job is `started`, and the worker is named: in its execution, or in the job itself
    it had not               the job is still `queued`, and in no queue: it was only taken out, which costs it nothing

RQ by itself waits until the job's time is up, and then fails it, unless it was given retries. Here a job is left to
that rule, though at once, when it has cost `max_deaths` workers; with 0, never.
"""

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rq.executions import Execution
    from rq.queue import Queue

DEATHS = "chaperone_deaths"
"""The field of a job that counts the workers it has cost."""
_BEGINNING = 1.0  # seconds; whoever lives begins with a job within milliseconds of taking it out


class Reclaiming:
    def __init__(self, connection: Any, max_deaths: int) -> None:
        self._connection = connection
        self._max_deaths = max_deaths

    def reclaim(self, worker: dict[str, Any]) -> int:
        from rq.queue import Queue

        many = sum(self._of_queue(Queue(name, self._connection), worker) for name in worker["queues"])
        self._unregister(worker)
        return many

    def _of_queue(self, queue: "Queue", worker: dict[str, Any]) -> int:
        had: defaultdict[str, list[Execution]] = defaultdict(list)
        busy: set[str] = set()
        for execution, owner in self._executions(queue):
            if owner == worker["id"]:
                had[execution.job_id].append(execution)
            else:
                busy.add(execution.job_id)
        for job_id in (*worker["jobs"], *filter(None, [worker["mark"]])):
            if job_id not in busy:
                had[job_id]  # it has told of it, perhaps before Redis knew
        blamed = worker.get("blamed", True)
        many = sum(self._put_back(queue, job_id, had[job_id], worker["id"], blamed=blamed) for job_id in had)
        return many + self._forgotten(queue)

    def _executions(self, queue: "Queue") -> "Iterator[tuple[Execution, str]]":
        """Of all that are begun, with the names of those who do them."""
        from rq.executions import Execution
        from rq.job import Job
        from rq.registry import StartedJobRegistry

        members = self._connection.zrange(StartedJobRegistry(queue.name, self._connection).key, 0, -1)
        executions = [Execution.from_composite_key(member.decode(), self._connection) for member in members]
        pipe = self._connection.pipeline(transaction=False)
        for execution in executions:
            pipe.hget(execution.key, "worker_name")
            pipe.hget(Job.key_for(execution.job_id), "worker_name")  # before RQ 3 it is there alone
        names = pipe.execute()
        for execution, own, last in zip(executions, names[::2], names[1::2], strict=True):
            yield execution, (own or last or b"").decode()

    def _put_back(
        self, queue: "Queue", job_id: str, executions: "Sequence[Execution]", worker_id: str, *, blamed: bool = True
    ) -> int:
        """Whether it was. Nobody else may touch the job meanwhile: then it is theirs."""
        from redis.exceptions import WatchError
        from rq.executions import ExecutionRegistry
        from rq.job import Job
        from rq.registry import StartedJobRegistry
        from rq.timeouts import TimerDeathPenalty

        key = Job.key_for(job_id)
        # A failed job's callback has its time, too: here in a thread, where RQ's usual alarm cannot be set.
        registry = StartedJobRegistry(queue.name, self._connection, death_penalty_class=TimerDeathPenalty)
        with self._connection.pipeline() as pipe:
            try:
                pipe.watch(key)
                status, origin, owner, deaths = _texts(pipe.hmget(key, "status", "origin", "worker_name", DEATHS))
                begun = status == "started" and owner == worker_id
                taken = status == "queued" and self._connection.lpos(queue.key, job_id) is None
                if origin != queue.name or not (begun or taken):
                    return 0
                cost = int(deaths or 0) + (begun and blamed)
                pipe.multi()
                if begun:
                    pipe.hset(key, DEATHS, str(cost))
                if begun and 0 < self._max_deaths <= cost:
                    for execution in executions:
                        pipe.zadd(registry.key, {execution.composite_key: 0}, xx=True)
                    pipe.execute()
                    registry.cleanup()  # RQ's own rule, for those whose time is up
                    return int(self._connection.hget(key, "status") == b"queued")
                pipe.hset(key, mapping={"status": "queued", "worker_name": ""})
                pipe.lpush(queue.key, job_id)
                pipe.lrem(queue.intermediate_queue_key, 0, job_id)
                for execution in executions:
                    pipe.zrem(registry.key, execution.composite_key)
                    pipe.zrem(ExecutionRegistry(job_id, self._connection).key, execution.id)
                    pipe.delete(execution.key)
                pipe.execute()
            except WatchError:
                return 0
        return 1

    def _forgotten(self, queue: "Queue") -> int:
        """Taken out, and not begun with for a while: where RQ keeps such jobs nobody's name stands beside them."""
        seen = self._connection.lrange(queue.intermediate_queue_key, 0, -1)
        if not seen:
            return 0
        time.sleep(_BEGINNING)
        still = set(seen) & set(self._connection.lrange(queue.intermediate_queue_key, 0, -1))
        begun = {execution.job_id for execution, _ in self._executions(queue)} if still else set()
        return sum(self._put_back(queue, job_id, (), "") for job_id in {name.decode() for name in still} - begun)

    def _unregister(self, worker: dict[str, Any]) -> None:
        """It is not to be listed among the living until its time is up."""
        from rq import Worker
        from rq.worker_registration import REDIS_WORKER_KEYS, WORKERS_BY_QUEUE_KEY

        key = f"{Worker.redis_worker_namespace_prefix}{worker['id']}"
        pipe = self._connection.pipeline()
        pipe.delete(key, f"{key}:executions")
        pipe.srem(REDIS_WORKER_KEYS, key)
        for queue in worker["queues"]:
            pipe.srem(WORKERS_BY_QUEUE_KEY % queue, key)
        pipe.execute()


def _texts(values: Sequence[bytes | None]) -> list[str]:
    return ["" if value is None else value.decode() for value in values]
