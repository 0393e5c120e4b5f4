"""The App for `procrastinate --app chaperone_async.agent.procrastinate.app worker`: the application's own, and what
tells the supervisor when the worker takes jobs, of its jobs, and that its loop is alive."""

import inspect
import time

import procrastinate
from procrastinate.worker import FETCH_JOB_POLLING_INTERVAL, Worker

from chaperone_async.agent import target
from chaperone_async.agent.pulse import Pulse
from chaperone_async.worker import notify

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

    from procrastinate import App, JobContext
    from procrastinate.jobs import Job


def __getattr__(name: str) -> "Any":
    """Made when Procrastinate asks for it."""
    if name == "app":
        return watched(target.load(target.target()))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def watched(app: "App") -> "App":
    if not isinstance(app, procrastinate.App):
        raise SystemExit(f"cannot work for {target.target()}: it is a {type(app).__name__}, not an App")
    if "worker_middleware" not in inspect.signature(Worker).parameters:
        why = f"procrastinate {procrastinate.__version__} has no worker middleware"
        raise SystemExit(f"cannot tell of jobs: {why}; install 3.10 or newer")
    defaults: dict[str, Any] = {**app.worker_defaults}
    every = target.told().get("sleep") or defaults.get("fetch_job_polling_interval") or FETCH_JOB_POLLING_INTERVAL
    pulse = Pulse(silence=3 * every)
    defaults["worker_middleware"] = [_telling(pulse), *(defaults.get("worker_middleware") or ())]
    app.worker_defaults = defaults  # type: ignore[assignment]  # on this one object alone
    _listen(app, pulse)
    return app


def _telling(pulse: Pulse) -> "Callable[..., Awaitable[Any]]":
    async def tell(call_next: "Callable[[], Awaitable[Any]]", context: "JobContext", _worker: Worker) -> "Any":
        job = context.job
        told = notify.job(job.id, name=job.task_name, queue=job.queue, wait=_wait(job)).start()
        pulse.running += 1
        try:
            result = await call_next()
        except BaseException as error:
            told.end(error)
            raise
        finally:
            pulse.running -= 1
        told.end()
        return result

    return tell


def _wait(job: "Job") -> float | None:
    """When it came into the queue a job does not know, only when it was due."""
    if job.scheduled_at is None or job.attempts:
        return None
    return time.time() - job.scheduled_at.timestamp()


def _listen(app: "App", pulse: Pulse) -> None:
    """Each look for a job. In the database a worker has a number, by which its jobs are found when it dies."""
    fetch = app.job_manager.fetch_job
    number: int | None = None

    async def look(queues: "Any", worker_id: int) -> "Job | None":
        nonlocal number
        if worker_id != number:
            number = worker_id
            notify.mark(str(worker_id))
        job = await fetch(queues, worker_id)
        pulse.looked()
        return job

    app.job_manager.fetch_job = look  # type: ignore[method-assign]  # on this one object alone
