"""The settings for `arq chaperone_async.agent.arq.Settings`: the application's own, and what tells the supervisor when
the worker takes jobs, of its jobs, and that its loop is alive.

arq's hooks are told neither the name of a job's function nor how it went, so the functions are wrapped. What arq gives
up before it calls one, it tells nobody: an unknown function, a job that has expired, or one tried too often.
"""

import asyncio
import os
import time
from dataclasses import replace
from functools import wraps

from arq.constants import default_queue_name, in_progress_key_prefix
from arq.utils import to_seconds
from arq.worker import func, get_kwargs

from chaperone_async.agent import target
from chaperone_async.agent.pulse import Pulse
from chaperone_async.worker import notify

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

    Hook = Callable[[Any], Awaitable[None]]

_MAX_TRIES = 5  # arq's own default
_POLL = 0.5
_SILENCE = 10.0  # seconds


def __getattr__(name: str) -> "Any":
    """Made when arq asks for it."""
    if name == "Settings":
        return settings()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def settings() -> "dict[str, Any]":
    own: dict[str, Any] = {**get_kwargs(target.load(target.target()))}
    told = target.told()
    queue = os.environ.get("CHAPERONE_QUEUE", "default")
    if queue != "default":
        own["queue_name"] = queue
    if told.get("concurrency"):
        own["max_jobs"] = told["concurrency"]
    own["job_completion_wait"] = told.get("patience", own.get("job_completion_wait", 0))
    own["max_tries"] = told.get("tries") or own.get("max_tries", _MAX_TRIES)
    own["poll_delay"] = told.get("sleep") or own.get("poll_delay", _POLL)
    every = to_seconds(own["poll_delay"])
    watch = Watch(queue, own.get("queue_name", default_queue_name), own["max_tries"], every)
    own["functions"] = [watch.wrap(func(function)) for function in own.get("functions") or ()]
    own["cron_jobs"] = [watch.wrap(job) for job in own.get("cron_jobs") or ()]
    own["on_startup"] = _first(watch.begin, own.get("on_startup"))  # which may have another client in the context
    own["after_job_end"] = _first(watch.end, own.get("after_job_end"))
    return own


def _first(one: "Hook | None", then: "Hook | None") -> "Hook":
    async def both(context: "Any") -> None:
        for hook in (one, then):
            if hook is not None:
                await hook(context)

    return both


class Run:
    """Of one job, with what it takes to send it again."""

    def __init__(self, job: notify.Job, args: "tuple[Any, ...]", kwargs: "dict[str, Any]", *, is_last: bool) -> None:
        self.job = job
        self.args = args
        self.kwargs = kwargs
        self.is_last = is_last  # arq would not begin another
        self.error: BaseException | str | None = None


class Watch:
    """`queue`: the pool's name for arq's `key`. `every`: seconds between two looks for jobs."""

    def __init__(self, queue: str, key: str, max_tries: int, every: float) -> None:
        self._queue = queue
        self._key = key
        self._max_tries = max_tries
        self._pulse = Pulse(silence=max(_SILENCE, 3 * every))
        self._redis: Any = None
        self._runs: dict[str, Run] = {}

    def wrap(self, function: "Any") -> "Any":
        """An arq Function, or a CronJob."""
        coroutine = function.coroutine
        most = self._max_tries if function.max_tries is None else function.max_tries

        @wraps(coroutine)
        async def run(context: "Any", *args: "Any", **kwargs: "Any") -> "Any":
            wait = time.time() - context["score"] / 1000 if context["job_try"] == 1 else None
            job = notify.job(context["job_id"], name=function.name, queue=self._queue, wait=wait)
            now = self._runs[context["job_id"]] = Run(job.start(), args, kwargs, is_last=context["job_try"] >= most)
            self._pulse.running += 1
            try:
                return await coroutine(context, *args, **kwargs)
            except asyncio.CancelledError:
                now.error = "cancelled: it was aborted, or took too long"
                raise
            except BaseException as error:
                now.error = error
                raise

        return replace(function, coroutine=run)

    async def begin(self, context: "Any") -> None:
        """Before arq's loop begins."""
        redis = self._redis = context["redis"]
        look = redis.zrangebyscore

        async def looked(*args: "Any", **options: "Any") -> "Any":
            found = await look(*args, **options)
            self._pulse.looked()
            return found

        redis.zrangebyscore = looked
        _sign(redis)

    async def end(self, context: "Any") -> None:
        run = self._runs.pop(context["job_id"], None)
        if run is None:
            return
        self._pulse.running -= 1
        if run.error is None or (not run.is_last and await self._comes_back(context["job_id"])):
            run.job.end()
        else:
            run.job.end(run.error, target.arguments(run.args, run.kwargs))

    async def _comes_back(self, job_id: str) -> bool:
        """What is to be tried again is still in the queue."""
        try:
            return await self._redis.zscore(self._key, job_id) is not None
        except Exception:  # noqa: BLE001  it may be on its way out: the worker must not end by what is asked for us
            return False


def _sign(redis: "Any") -> None:
    """That a job is in work, arq notes in a key without an owner. With the worker's id in it, which arq never reads,
    the jobs of a dead worker can be told from others'."""
    worker = os.environ.get("CHAPERONE_WORKER_ID")
    if not worker:
        return
    pipeline = redis.pipeline

    def signed(*args: "Any", **options: "Any") -> "Any":
        pipe = pipeline(*args, **options)
        psetex = pipe.psetex

        def sign(name: str | bytes, time_ms: int, value: "Any") -> "Any":
            is_arqs = isinstance(name, str) and name.startswith(in_progress_key_prefix)
            return psetex(name, time_ms, worker if is_arqs else value)

        pipe.psetex = sign
        return pipe

    redis.pipeline = signed
