"""The broker for `taskiq worker chaperone_async.agent.taskiq:broker`: the application's own, and what tells the
supervisor when the worker takes tasks, and of its tasks.

An idle worker is made to stop when it is asked to. There are no heartbeats: a worker of a Redis list hangs on its
connection as long as there is no task. In the group of a Redis stream a worker has its id for a name, so that what it
leaves behind can be told, and takes only what it works on.
"""

import asyncio
import inspect
import os
from contextlib import aclosing

from taskiq import AsyncBroker, NoResultError, TaskiqMessage, TaskiqMiddleware, TaskiqResult

from chaperone_async.agent import target
from chaperone_async.worker import notify

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from typing import Any

_KNOCK = 1.0  # seconds between two tries to reach the broker, or to make it let go


def broker() -> AsyncBroker:
    """Called in the child that works."""
    found: Any = target.load(target.target())
    if inspect.isfunction(found):
        found = found()
    if not isinstance(found, AsyncBroker):
        raise SystemExit(f"cannot work for {target.target()}: it is a {type(found).__name__}, not a broker of taskiq")
    queue = getattr(found, "queue_name", None)
    found.add_middlewares(Telling(target.queue_name(queue) if isinstance(queue, str) else queue_of_the_pool()))
    _join(found)
    _announce(found)
    return found


def queue_of_the_pool() -> str:
    return os.environ.get("CHAPERONE_QUEUE", "default")


class Telling(TaskiqMiddleware):
    """Of runs, for each of which there is a task of the loop: a retry may begin, under the same id, before the run that
    has failed is over."""

    def __init__(self, queue: str) -> None:
        super().__init__()
        self._queue = queue
        self._runs: dict[asyncio.Task[Any] | None, tuple[notify.Job, list[Any], dict[str, Any]]] = {}

    def pre_execute(self, message: TaskiqMessage) -> TaskiqMessage:
        job = notify.job(message.task_id, name=message.task_name, queue=self._queue).start()
        run = asyncio.current_task()
        # Copies: taskiq puts parsed arguments in the place of those that were sent.
        self._runs[run] = job, list(message.args), dict(message.kwargs)
        if run is not None:
            run.add_done_callback(self._leave)
        return message

    def post_execute(self, message: TaskiqMessage, result: "TaskiqResult[Any]") -> None:  # noqa: ARG002  taskiq's
        error = result.error or "failed" if result.is_err and not isinstance(result.error, NoResultError) else None
        self._end(asyncio.current_task(), error)  # no error of a run that a retry middleware lets be tried again

    def _leave(self, run: "asyncio.Task[Any]") -> None:
        if run.cancelled():
            self._runs.pop(run, None)  # the worker ends
        else:
            self._end(run, "a middleware has raised: the worker's log says what")

    def _end(self, run: "asyncio.Task[Any] | None", error: BaseException | str | None) -> None:
        job, args, kwargs = self._runs.pop(run, (None, [], {}))
        if job is not None:
            job.end(error, None if error is None else target.arguments(args, kwargs))


def _join(broker: "Any") -> None:
    """A consumer of a Redis stream. taskiq fetches by the hundred, which idle workers would never see."""
    worker, prefetch = os.environ.get("CHAPERONE_WORKER_ID"), target.told().get("prefetch")
    if worker and hasattr(broker, "consumer_name"):
        broker.consumer_name = worker
    if prefetch and hasattr(broker, "consumer_name") and hasattr(broker, "count"):
        broker.count = prefetch


def _announce(broker: AsyncBroker) -> None:
    """That it listens; and see to it that it stops to when it is asked to, once."""
    listen = broker.listen

    async def listening() -> "AsyncGenerator[Any, None]":
        knocking = asyncio.create_task(_knock(broker))
        try:
            async with aclosing(listen()) as messages:
                while True:
                    step = asyncio.create_task(_next(messages))
                    try:
                        await asyncio.wait({step})
                    except asyncio.CancelledError:
                        if not await _give_up(step):
                            raise
                    if (message := step.result()) is None:
                        return
                    yield message
        finally:
            knocking.cancel()

    broker.listen = listening  # type: ignore[method-assign]  # on this one object alone


async def _next(messages: "AsyncGenerator[Any, None]") -> "Any":
    return await anext(messages, None)


async def _give_up(step: "asyncio.Task[Any]") -> bool:
    """Whether it has brought something nevertheless. A client of Redis may miss that it is cancelled, in the moment
    that it begins with a command: it would wait for ever."""
    while not step.done():
        step.cancel()
        await asyncio.wait({step}, timeout=_KNOCK)
    return not step.cancelled()


async def _knock(broker: "Any") -> None:
    """A worker of a Redis list listens to nobody, without a word, until there is a Redis."""
    pool = getattr(broker, "connection_pool", None)
    while pool is not None and not await _answers(pool):  # noqa: ASYNC110  nobody tells when it comes back
        await asyncio.sleep(_KNOCK)
    notify.ready()


async def _answers(pool: "Any") -> bool:
    from redis.asyncio import Redis

    try:
        return bool(await Redis(connection_pool=pool).ping())
    except Exception:  # noqa: BLE001  whatever is wrong there, the worker's own listening will tell
        return False
