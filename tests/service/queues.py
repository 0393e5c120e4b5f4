"""Pools whose queues are as a test says: with failed jobs that can be listed, tried again and thrown away."""

from collections.abc import Callable, Sequence
from typing import Any

import anyio

from chaperone_async.core.spec import BackendUse, BacklogPolicy, PoolSpec
from chaperone_async.errors import QueueError
from chaperone_async.system.ports import FailedJob, FailedPage
from tests.service.acting import AT_ONCE, Answered, Stage
from tests.service.canned import spec
from tests.supervision.fakes import FakeQueue

OFTEN = BacklogPolicy(interval=0.02)
PATIENCE = 20.0


def pool(name: str = "emails", *queues: str, settings: str = "{}", **changes: Any) -> PoolSpec:
    """Of a backend whose workers tell of their jobs, unless `backend` says otherwise."""
    backend = changes.pop("backend", BackendUse(name="fake", settings=settings, reports=True))
    own = spec(name, **{"restart": AT_ONCE, "backlog": OFTEN, "backend": backend, **changes})
    return PoolSpec(**{field: getattr(own, field) for field in own.__slots__} | {"queues": queues or (name,)})


class KeptJobs(FakeQueue):
    """One list for each queue, the newest last; `no` is what it answers, if anything."""

    can = frozenset({"backlog", "failed", "retry", "flush"})

    def __init__(self, *ids: str, queue: str = "emails", **counts: Any) -> None:
        super().__init__(**counts)
        self.lists = {queue: list(ids)}
        self.retried: list[str] = []
        self.no: QueueError | None = None
        self.ours = False

    async def _answer(self) -> None:
        await anyio.sleep(self.takes)
        if self.no is not None:
            raise self.no

    async def failed(self, queue: str, limit: int, after: str | None) -> FailedPage:
        await self._answer()
        ids = list(reversed(self.lists.get(queue, [])))
        rest = ids if after is None else ids[ids.index(after) + 1 :]
        jobs = tuple(FailedJob(each, None, "send", "'a'", "ValueError: no", 1e9, 3) for each in rest[:limit])
        return FailedPage(jobs, jobs[-1].id if len(rest) > limit else None, self.ours)

    async def retry(self, queue: str, ids: Sequence[str] | None) -> int:
        await self._answer()
        taken = self._take(queue, ids)
        self.retried += taken
        return len(taken)

    async def flush(self, queue: str, ids: Sequence[str] | None) -> int:
        await self._answer()
        return len(self._take(queue, ids))

    def _take(self, queue: str, ids: Sequence[str] | None) -> list[str]:
        there = self.lists.get(queue, [])
        taken = [each for each in there if ids is None or each in ids]
        self.lists[queue] = [each for each in there if each not in taken]
        return taken


async def until(stage: Stage, path: str, fact: Callable[[Any], object]) -> Answered:
    """The first answer that is so."""
    with anyio.fail_after(PATIENCE):
        while True:
            answer = await stage.ask("GET", path)
            if fact(answer.document):
                return answer
            await anyio.sleep(0.01)
