"""All at once."""

import os
import signal

from tests.faults.conftest import Start
from tests.faults.service import polled, until

POOL = """
[pools.many]
command = "sleep 1000"
workers = 200
restart.start_seconds = 0.1
"""


def test_livez_answers_and_all_workers_come_back_when_200_are_killed_at_once(start: Start) -> None:
    service = start(POOL).started()
    until(lambda: service.pool("many")["ready_workers"] == 200)
    before = service.pids("many")
    with polled(service, "/livez") as livez:
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        until(lambda: len(set(service.pids("many")) - set(before)) == 200)
        until(lambda: service.pool("many")["ready_workers"] == 200)
    assert len(livez.statuses) > 1
    assert service.stop() == 0
