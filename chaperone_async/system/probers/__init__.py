"""The active checks a pool asks for: http, tcp, exec, python."""

from chaperone_async.core.events import WorkerRef
from chaperone_async.core.spec import PoolSpec
from chaperone_async.system.ports import Prober
from chaperone_async.system.probers.command import ExecProber, Kin
from chaperone_async.system.probers.function import Check, OnError, PythonProber, WorkerOf, load_check
from chaperone_async.system.probers.http import HttpProber
from chaperone_async.system.probers.tcp import TcpProber

__all__ = [
    "Check",
    "ExecProber",
    "HttpProber",
    "Kin",
    "OnError",
    "PythonProber",
    "TcpProber",
    "WorkerOf",
    "load_check",
    "make_probers",
]


def _tell_nobody(_ref: WorkerRef, _error: BaseException) -> None:
    """The verdict's detail has the error's text all the same."""


def make_probers(
    spec: PoolSpec,
    family: Kin,
    check_worker: Check | None = None,
    *,
    worker_of: WorkerOf | None = None,
    on_error: OnError = _tell_nobody,
) -> tuple[Prober, ...]:
    """Those the pool's health policy asks for. Raises ConfigError when one cannot be made.

    `check_worker` is the function given to with_health_check; python checks need `worker_of`, which makes the Worker
    they are called with.
    """
    health = spec.health
    probers: list[Prober] = []
    if health.http:
        probers.append(HttpProber(spec, health.http))
    if health.tcp:
        probers.append(TcpProber(spec, health.tcp))
    if health.exec:
        probers.append(ExecProber(spec, health.exec, family))
    checks = [load_check(health.python)] if health.python else []
    if check_worker:
        checks.append(check_worker)
    if checks:
        if worker_of is None:
            raise TypeError("cannot make a python check: it needs worker_of, the maker of the Worker it is called with")
        probers.append(PythonProber(tuple(checks), health.timeout, worker_of, on_error))
    return tuple(probers)
