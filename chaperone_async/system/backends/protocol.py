"""What a backend is: the one thing that knows a queue system. It is found by the entry points of the group
`chaperone_async.backends`, so that any distribution may bring one; `chaperone_async.backends` has these names.

A backend has two halves. The object here runs in the supervisor, imports no queue library, and only plans: which
command line a worker needs, how it is asked to stop. What needs the library, the broker or the application is done by
its *attendant*, a module that is loaded in a process of its own with the application's interpreter; see
`chaperone_async/attendant`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

from chaperone_async.core.spec import JobOptions, RecyclePolicy, Rung
from chaperone_async.system.config.keys import Table

GROUP = "chaperone_async.backends"
Ability = Literal["backlog", "failed", "retry", "flush", "reclaim"]


class Unsuited(Exception):
    """The pool's configuration asks for what this backend cannot do. `key` is the key of the pool to change, such as
    `job.tries`; `why` goes on from its value: `cannot be honoured: …; …`."""

    def __init__(self, key: str, why: str) -> None:
        super().__init__(f"{key}: {why}")
        self.key = key
        self.why = why


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a pool's configuration says. `options`: the backend's own table, read as its `options` type; `python`: the
    interpreter to run, for the command line."""

    pool: str
    queues: tuple[str, ...]
    options: Any
    python: str
    job: JobOptions = JobOptions()  # noqa: RUF009  frozen
    recycle: RecyclePolicy = RecyclePolicy()  # noqa: RUF009  frozen
    stop_timeout: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How workers of a pool are run. In `command` and `env` the placeholders {slot} {worker_id} {pool} {queue} expand
    for each worker.

    Of the pool's `job` options those in `honours` have found their way into the command line; "timeout" may be left
    out, for the supervisor times jobs itself where the worker reports them (`reports`). Any other that is set is
    refused; an `Unsuited` of the backend's own says better why. `recycle.*` needs no care: the supervisor does it, but
    for "max_jobs" (in `honours`, then) where the worker does not report.
    """

    command: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()
    honours: frozenset[str] = frozenset()
    reports: bool = False  # an agent in the worker says READY=1 and tells of its jobs
    beats: bool = True  # it gives signs of life, while it has a job, too
    at_once: int = 1  # jobs that one worker does at a time, where the configuration says so
    stop_signal: str = "SIGTERM"
    then: tuple[Rung, ...] = ()  # further signals, before the SIGKILL over the session
    pause_signal: str | None = None  # what pauses a worker, until SIGCONT; None: it finishes its job, and ends
    attendant: str | None = None  # the module that knows the queue; None: nothing is known of it
    settings: Mapping[str, Any] = field(default_factory=dict)  # what the attendant is told: JSON
    can: frozenset[Ability] = frozenset()
    keeps_failed: bool = True  # the queue system has a list of failed jobs; else the supervisor keeps one
    needs: tuple[str, ...] = ()  # modules that the interpreter must have, the library first
    warning: str | None = None  # what is to be known of such a pool, though nothing is wrong with it


class Backend(Protocol):
    """Stateless. `name` is what `backend = "…"` says, and the name of its table."""

    name: ClassVar[str]
    options: ClassVar[type[Table]]
    extra: ClassVar[str | None]  # what to install when a module is missing: chaperone-async[extra]; None: see `needs`

    def plan(self, asked: Asked) -> Plan:
        """Pure, and quick. Raises Unsuited."""
