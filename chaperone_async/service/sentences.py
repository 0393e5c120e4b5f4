"""Every event there is: its name, its level, the sentence a person reads about it, and what it means in general."""

from typing import Literal, NamedTuple

from chaperone_async.core.actions import Announce

Level = Literal["debug", "info", "warning", "error"]
DEBUG: Level = "debug"
INFO: Level = "info"
WARNING: Level = "warning"
ERROR: Level = "error"
LEVELS: tuple[str, ...] = (DEBUG, INFO, WARNING, ERROR)


class Sentence(NamedTuple):
    """`words` with the event's own data in braces; `meaning` is for the table of events in the documentation."""

    level: Level
    words: str
    meaning: str


SENTENCES: dict[str, Sentence] = {
    "worker.started": Sentence(INFO, "{worker} started (pid {pid}, slot {slot})", "A worker's process runs."),
    "worker.ready": Sentence(
        DEBUG, "{worker} is ready", "A worker has said so, or has lived long enough and passes its checks."
    ),
    "worker.degraded": Sentence(
        WARNING, "{worker} is degraded: {detail}", "A health check fails, not yet often enough to act."
    ),
    "worker.unhealthy": Sentence(
        ERROR,
        "{worker} is unhealthy: {detail}",
        "A health check has failed too often: the worker is replaced, or on_unhealthy is asked.",
    ),
    "worker.recovered": Sentence(INFO, "{worker} is healthy again", "All its health checks pass again."),
    "worker.due": Sentence(
        INFO,
        "{worker} will be replaced ({reason}): {detail}",
        "A worker has reached a limit, or is to be replaced gracefully.",
    ),
    "worker.leaving": Sentence(
        INFO, "{worker} says that it is stopping", "A worker ends by itself, and has announced it (STOPPING=1)."
    ),
    "worker.paused": Sentence(INFO, "{worker} paused", "A worker is frozen."),
    "worker.resumed": Sentence(INFO, "{worker} resumed", "A frozen worker goes on."),
    "worker.proven": Sentence(
        INFO,
        "{worker} has outlived the crash loop",
        "The worker of a crash-looping slot has lived long enough: its crashes are forgotten.",
    ),
    "worker.signalled": Sentence(
        INFO, "{worker} is sent {detail} by {by}", "A signal that somebody asked for is delivered."
    ),
    "worker.stopping": Sentence(
        INFO, "{worker} is stopping ({reason}): {detail}", "A worker is asked to end, and has its grace to finish."
    ),
    "worker.urged": Sentence(
        INFO,
        "{worker} is sent {detail} ({reason})",
        "A worker has not ended in time: the next signal of its stop plan, before SIGKILL.",
    ),
    "worker.killed": Sentence(
        WARNING,
        "{worker} is killed ({reason}): {detail}",
        "A worker has not ended in time, or had none: SIGKILL to its whole session.",
    ),
    "worker.exited": Sentence(INFO, "{worker} ended ({reason}): {detail}", "A worker ended as it should."),
    "worker.crashed": Sentence(
        ERROR, "{worker} died ({reason}): {detail}", "A worker ended unexpectedly, or could not be started."
    ),
    "slot.backoff": Sentence(INFO, "{detail}", "The next try in this slot waits."),
    "slot.crash_loop": Sentence(
        WARNING, "slot {slot} is in a crash loop: {detail}", "Too many early deaths in this slot within the window."
    ),
    "slot.finished": Sentence(INFO, "{detail} has finished and stays empty", "The restart policy wants no successor."),
    "slot.fatal": Sentence(ERROR, "{detail}; given up", "A crash-looping slot is given up (action fatal)."),
    "pool.ready": Sentence(INFO, "ready: {detail}", "The pool has at least min_ready healthy workers."),
    "pool.unready": Sentence(ERROR, "not ready: {detail}", "The pool has fewer healthy workers than min_ready."),
    "pool.scaled": Sentence(INFO, "scaled by {by}: {detail}", "Another number of workers is wanted."),
    "pool.started": Sentence(INFO, "started by {by}", "A pool that was held or given up runs again."),
    "pool.restarting": Sentence(
        INFO,
        "restarting all workers at once, asked by {by}",
        "All workers are replaced, without waiting for successors.",
    ),
    "pool.rolling": Sentence(
        INFO, "rolling restart, asked by {by}", "All workers are replaced, each successor ready first."
    ),
    "pool.changed": Sentence(
        INFO,
        "configuration changed by {by}: {detail}",
        "A new configuration is in force; workers that need it are replaced.",
    ),
    "pool.reloaded": Sentence(
        INFO, "the new configuration is through, {detail}", "Every worker runs the new configuration and is ready."
    ),
    "pool.rolled_back": Sentence(
        ERROR,
        "the configuration that {by} asked for is taken back: {detail}",
        "Workers of the new configuration died early or got never ready: the old one is in force again.",
    ),
    "pool.paused": Sentence(INFO, "paused by {by} ({detail})", "The pool takes no work until it is resumed."),
    "pool.resumed": Sentence(INFO, "resumed by {by}", "A paused pool goes on."),
    "pool.stopping": Sentence(INFO, "stopping: {detail}", "All workers of the pool are asked to end."),
    "pool.stopped": Sentence(INFO, "stopped", "Nothing of a stopped pool is alive."),
    "pool.fatal": Sentence(
        ERROR, "given up: {detail}", "Every slot has given up, or a callback has: no worker is started any more."
    ),
    "pool.breaker_opened": Sentence(
        ERROR, "breaker open: {detail}; from now on one canary at a time", "No worker is healthy and all crash early."
    ),
    "pool.breaker_canary": Sentence(
        INFO, "canary: {detail}", "With the breaker open, the next single worker to be tried."
    ),
    "pool.breaker_closed": Sentence(
        INFO, "breaker closed: {detail}; the other workers start", "A canary has lived long enough."
    ),
    "pool.broken": Sentence(
        ERROR,
        "its supervision failed, which is a bug of the supervisor: {detail}",
        "A bug has ended the pool; the others go on.",
    ),
    "queue.unreachable": Sentence(
        WARNING, "the queue cannot be read: {detail}", "The backlog is unknown: scaling holds what there is."
    ),
    "queue.reachable": Sentence(INFO, "the queue can be read again: {detail}", "The backlog is known again."),
    "queue.reclaimed": Sentence(
        INFO, "put back into the queue: {detail}", "A dead worker had jobs: others can take them at once."
    ),
    "queue.reclaim_failed": Sentence(
        WARNING,
        "cannot put back the jobs of {detail}",
        "A dead worker's jobs stay where they are until the queue can be reached, or its system itself looks for them.",
    ),
    "queue.retried": Sentence(INFO, "retried by {by}: {detail}", "Failed jobs are to be done once more."),
    "queue.flushed": Sentence(WARNING, "thrown away by {by}: {detail}", "Failed jobs that nobody wants any more."),
    "callback.failed": Sentence(ERROR, "callback {detail}", "A user's function raised, or did not return in time."),
    "check.broken": Sentence(
        WARNING,
        "a health check could not be made: {detail}",
        "Neither passed nor failed: the check itself does not work.",
    ),
    "supervisor.started": Sentence(INFO, "{detail}", "The supervisor runs: version, name, and where it listens."),
    "supervisor.trouble": Sentence(
        WARNING, "{detail}", "Something around the workers does not work as it should, such as a log file."
    ),
    "supervisor.broken": Sentence(ERROR, "{detail}", "A part of the supervisor failed; the workers go on."),
    "supervisor.stopping": Sentence(INFO, "{detail}", "The supervisor drains all pools and ends."),
    "supervisor.waiting": Sentence(INFO, "{detail}", "While it ends: which workers it waits for, and how long still."),
    "supervisor.state": Sentence(INFO, "{detail}", "SIGUSR1: one line for each pool and each worker."),
    "supervisor.reloading": Sentence(INFO, "reload {detail}", "The configuration is read anew, and the changes begun."),
    "supervisor.reloaded": Sentence(INFO, "reloaded {detail}", "All that a reload has begun is through."),
    "supervisor.reload_failed": Sentence(
        ERROR, "reload failed: {detail}", "The file cannot be used, or a pool could not follow it."
    ),
    "supervisor.stopped": Sentence(INFO, "{detail}", "All workers are gone: the last words."),
}


def sentence(news: Announce) -> str:
    return SENTENCES[news.kind].words.format(
        worker=news.worker_id,
        pid=news.pid,
        slot=None if news.ref is None else news.ref.slot,
        reason=news.reason,
        detail=news.detail,
        by=news.by,
    )


def level(news: Announce) -> Level:
    return SENTENCES[news.kind].level
