"""Why a worker ended: one vocabulary for events, the API, metrics and logs."""

from enum import StrEnum


class Reason(StrEnum):
    EXIT = "exit"  # by itself, with a success code
    ERROR = "error"  # by itself, with another code
    SIGNAL = "signal"  # killed by someone else
    OOM = "oom"  # killed by the kernel for want of memory
    UNHEALTHY = "unhealthy"
    STALLED = "stalled"
    MEMORY = "memory"
    MAX_TIME = "max_time"
    MAX_JOBS = "max_jobs"
    JOB_TIMEOUT = "job_timeout"
    SCALED_DOWN = "scaled_down"
    RESTART = "restart"
    RELOAD = "reload"
    STOP = "stop"
    START_TIMEOUT = "start_timeout"
    SPAWN_ERROR = "spawn_error"


UNBLAMED = frozenset({Reason.MAX_TIME, Reason.MAX_JOBS, Reason.SCALED_DOWN, Reason.RESTART, Reason.RELOAD, Reason.STOP})
"""Its end was asked for: none of its jobs can have been the cause."""
