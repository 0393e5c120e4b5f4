"""Whether what runs this container leaves the time that a shutdown may take."""

import os
from collections.abc import Mapping
from pathlib import Path

from chaperone_async.core.shutdown import LAST_RECLAIMS
from chaperone_async.system.doctor.finding import Finding

_POD = 30.0  # terminationGracePeriodSeconds, unless the pod says otherwise
_DOCKER = 10.0  # of `docker stop`, unless --time says otherwise
_MARKS = ("run/.containerenv", ".dockerenv")


def examine_shutdown(
    grace: float, env: Mapping[str, str], root: Path = Path("/"), *, reclaims: bool = False
) -> Finding:
    """`reclaims`: jobs are put back at the end."""
    what = f"shutdown.grace is {grace:g} s"
    needed = grace
    if reclaims:
        what += f", and up to {LAST_RECLAIMS:g} s more put the last jobs back"
        needed += LAST_RECLAIMS
    if env.get("KUBERNETES_SERVICE_HOST"):
        return _judge(what, needed, _POD, "terminationGracePeriodSeconds of the pod")
    if any((root / mark).exists() for mark in _MARKS):
        return _judge(what, needed, _DOCKER, "the container's stop time-out (docker stop --time, stop_grace_period)")
    if os.getppid() == 1 and env.get("INVOCATION_ID"):
        return Finding("shutdown", "ok", what, f"TimeoutStopSec= of the unit must be more than {needed:g}")
    return Finding("shutdown", "ok", what)


def _judge(what: str, needed: float, usual: float, name: str) -> Finding:
    """The limit itself cannot be seen from inside."""
    if needed < usual:
        return Finding("shutdown", "ok", f"{what}, under the usual {usual:g} s of {name}")
    advice = f"all is killed when {name} is over, {usual:g} s unless you say otherwise; give more than {needed:g} s"
    return Finding("shutdown", "warn", what, advice)
