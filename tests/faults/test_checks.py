"""Checks written in Python that raise, hang or decide nothing: they say nothing of the worker, and the pool goes on."""

from pathlib import Path

import pytest

from tests.faults.conftest import Start
from tests.faults.service import polled, until

CHECKS = """
import asyncio, os, time

def raises(worker):
    raise RuntimeError("a check that is itself broken")

def hangs(worker):
    time.sleep(1000)

async def hangs_asleep(worker):
    await asyncio.sleep(1000)

def says_nothing(worker):
    return None
"""
POOLS = """
[pools.checked]
command = "sleep 1000"
workers = 3
health = {{ interval = 0.1, timeout = 0.2, failure_threshold = 1000, start_grace = 0, python = "faulty:{check}" }}

[pools.good]
command = "sleep 1000"
restart.start_seconds = 0.1
"""


@pytest.mark.parametrize("check", ["raises", "hangs", "hangs_asleep", "says_nothing"])
def test_a_pool_goes_on_whatever_its_check_does(start: Start, tmp_path: Path, check: str) -> None:
    (tmp_path / "faulty.py").write_text(CHECKS)
    service = start(POOLS.format(check=check), env={"PYTHONPATH": str(tmp_path)}).serving()
    until(lambda: service.pool("good")["ready"])
    with polled(service, "/livez"), polled(service, "/readyz/good"):
        until(lambda: service.pool("checked")["broken_checks"] or service.pool("checked")["workers"][0]["problem"])
        workers = service.pids("checked")
        until(lambda: all(row["last_health_check"] for row in service.pool("checked")["workers"]))
    assert service.pids("checked") == workers
    assert service.stop() == 0
