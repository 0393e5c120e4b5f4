"""Every event's name, its level, and the sentence a person reads about it."""

from chaperone_async.core.actions import Announce

DEBUG, INFO, WARNING, ERROR = "debug", "info", "warning", "error"
LEVELS = (DEBUG, INFO, WARNING, ERROR)

SENTENCES: dict[str, tuple[str, str]] = {
    "worker.started": (INFO, "{worker} started (pid {pid}, slot {slot})"),
    "worker.ready": (DEBUG, "{worker} is ready"),
    "worker.degraded": (WARNING, "{worker} is degraded: {detail}"),
    "worker.unhealthy": (ERROR, "{worker} is unhealthy: {detail}"),
    "worker.recovered": (INFO, "{worker} is healthy again"),
    "worker.due": (INFO, "{worker} will be replaced ({reason}): {detail}"),
    "worker.leaving": (INFO, "{worker} says that it is stopping"),
    "worker.paused": (INFO, "{worker} paused"),
    "worker.resumed": (INFO, "{worker} resumed"),
    "worker.proven": (INFO, "{worker} has outlived the crash loop"),
    "worker.stopping": (INFO, "{worker} is stopping ({reason}): {detail}"),
    "worker.killed": (WARNING, "{worker} is killed ({reason}): {detail}"),
    "worker.exited": (INFO, "{worker} ended ({reason}): {detail}"),
    "worker.crashed": (ERROR, "{worker} died ({reason}): {detail}"),
    "slot.backoff": (INFO, "{detail}"),
    "slot.crash_loop": (WARNING, "slot {slot} is in a crash loop: {detail}"),
    "slot.finished": (INFO, "{detail} has finished and stays empty"),
    "slot.fatal": (ERROR, "{detail}; given up"),
    "pool.ready": (INFO, "ready: {detail}"),
    "pool.unready": (ERROR, "not ready: {detail}"),
    "pool.scaled": (INFO, "scaled by {by}: {detail}"),
    "pool.started": (INFO, "started by {by}"),
    "pool.restarting": (INFO, "restarting all workers at once, asked by {by}"),
    "pool.rolling": (INFO, "rolling restart, asked by {by}"),
    "pool.paused": (INFO, "paused by {by} ({detail})"),
    "pool.resumed": (INFO, "resumed by {by}"),
    "pool.stopping": (INFO, "stopping: {detail}"),
    "pool.stopped": (INFO, "stopped"),
    "pool.fatal": (ERROR, "given up: {detail}"),
    "pool.breaker_opened": (ERROR, "breaker open: {detail}; from now on one canary at a time"),
    "pool.breaker_canary": (INFO, "canary: {detail}"),
    "pool.breaker_closed": (INFO, "breaker closed: {detail}; the other workers start"),
    "pool.broken": (ERROR, "its supervision failed, which is a bug of the supervisor: {detail}"),
    "callback.failed": (ERROR, "callback {detail}"),
    "check.broken": (WARNING, "a health check could not be made: {detail}"),
    "supervisor.started": (INFO, "{detail}"),
    "supervisor.trouble": (WARNING, "{detail}"),
    "supervisor.broken": (ERROR, "{detail}"),
    "supervisor.stopping": (INFO, "{detail}"),
    "supervisor.waiting": (INFO, "{detail}"),
    "supervisor.state": (INFO, "{detail}"),
    "supervisor.stopped": (INFO, "{detail}"),
}


def sentence(news: Announce) -> str:
    _, template = SENTENCES[news.kind]
    return template.format(
        worker=news.worker_id,
        pid=news.pid,
        slot=None if news.ref is None else news.ref.slot,
        reason=news.reason,
        detail=news.detail,
        by=news.by,
    )


def level(news: Announce) -> str:
    return SENTENCES[news.kind][0]
