"""As PID 1 of a container: orphans are reaped, and no worker's exit status is mistaken for another's."""

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from chaperone_async.system.janitor import read_stat
from tests.faults.conftest import Start
from tests.faults.service import QUICK_PYTHON, Service, children, until


def may_unshare() -> bool:
    probe = subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", "true"], capture_output=True, check=False)
    return probe.returncode == 0


pytestmark = pytest.mark.skipif(not may_unshare(), reason="a PID namespace of our own needs unshare, and root")

UNSHARE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
CRASHING = """
import os, sys
sys.exit(100 + int(os.environ["CHAPERONE_SLOT"]))
"""
ORPHANS = """#!/bin/sh
i=0
while [ $i -lt 1000 ]; do
    (setsid sh -c 'exit 77' &)
    i=$((i + 1))
done
touch {trace}
exec sleep 1000
"""
POOLS = """
[pools.crashing]
command = "{quick} {crashing}"
workers = 100
crash_records = 1000
restart.backoff = {{ initial = 0.2, max = 1 }}
restart.crash_loop.action = "alert"

[pools.orphans]
command = "{orphans}"
"""


def first_process(service: Service) -> int:
    """The supervisor, seen from outside its namespace."""
    return until(lambda: next(iter(children(service.pid)), 0))


def test_among_a_thousand_orphans_every_worker_has_its_own_exit_status(
    start: Start, script: Callable[[str, str], Path], tmp_path: Path
) -> None:
    crashing = script("crashing.py", CRASHING)
    orphans = script("orphans", ORPHANS.format(trace=tmp_path / "trace"))
    pools = POOLS.format(quick=QUICK_PYTHON, crashing=crashing, orphans=orphans)
    service = start(pools, prefix=UNSHARE).serving()
    supervisor = first_process(service)
    until((tmp_path / "trace").exists)
    until(lambda: len({crash["slot"] for crash in service.crashes("crashing")}) == 100)
    for crash in service.crashes("crashing"):
        assert (crash["reason"], crash["exit_code"]) == ("error", 100 + crash["slot"]), crash
    dead = zombies(supervisor)
    until(lambda: not dead & zombies(supervisor))
    os.kill(supervisor, signal.SIGTERM)
    assert service.ended() == 0


def zombies(parent: int) -> set[int]:
    """Those of the moment: a pool that crashes all the time always has some."""
    return {pid for pid in children(parent) if (stat := read_stat(pid)) is not None and stat[2] == "Z"}
