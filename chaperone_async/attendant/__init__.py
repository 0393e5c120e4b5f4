"""What needs a queue library, a broker's client or the application is done here, in a process of its own, with the
application's interpreter: the supervisor imports none of them, and nothing they do can hold it up.

An attendant is a module of this package, or anybody's, with a function `attend(settings)`. It gets the backend's
settings and returns an object with those of these methods that the backend is able to:

    backlog(queues) -> {"ready", "delayed", "reserved", "failed": int | None, "oldest_age", "next_due": float | None}
    failed(queue, limit, after) -> {"jobs": [FAILED, …], "next": str | None}    the newest first, after the job `after`
    retry(queue, ids) -> int                                                    how many; ids None: all
    flush(queue, ids) -> int
    reclaim(worker) -> int                 jobs put back that a dead worker had: {"id", "slot", "pid", "queues", …}
    send(name, args, kwargs, queue) -> str        for a list of failed jobs that the supervisor keeps: send it again

A FAILED job: {"id", "queue", "name", "args", "error", "failed_at", "attempts"}; args are text for people, failed_at is
in seconds since the epoch. Of a dead worker `jobs` are the ids of those it had told to be in work, `mark` is what its
agent said of itself with X_CHAPERONE_MARK, `blamed` is false when it was asked to end: its jobs are not why. What is
not known is None, or left out: never 0. Methods may be called by several threads at a time. They
raise `Unavailable` when the queue cannot be reached, for a reason in words, and `Refused` when it would be no use to
ask again: what was to be put back is asked for until it is.

Standard library only, apart from the library that a module is about; nothing else of ours.
"""


class Unavailable(Exception):
    """The queue system does not answer, or not with what was asked for; in one line."""


class Refused(Exception):
    """It cannot be done, however often it is asked for; in one line."""
