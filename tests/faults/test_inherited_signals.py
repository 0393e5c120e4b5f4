"""Started by nohup, by a shell's &, or by something that blocks every signal: workers notice nothing of it."""

import signal
from collections.abc import Callable
from pathlib import Path

from tests.faults.conftest import Start
from tests.faults.service import QUICK_PYTHON, alive, until
from tests.system.world import without_libc

LAUNCHER = """
import os, signal, sys
for name in "HUP INT QUIT TERM CHLD USR1 TSTP".split():
    signal.signal(signal.Signals["SIG" + name], signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
os.execv(sys.argv[1], sys.argv[1:])
"""
WORKER = """
import os, time
with open('/proc/self/status') as file:
    words = [word for line in file if line.startswith(('SigBlk', 'SigIgn')) for word in line.split()]
trace = '{trace}.' + os.environ['CHAPERONE_SLOT']
with open(trace + '.new', 'w') as file:
    file.write(' '.join(words))
os.rename(trace + '.new', trace)
time.sleep(1000)
"""
PYTHON_IGNORES = 0x1001000  # SIGPIPE and SIGXFSZ, by the worker's own Python


def test_workers_start_with_default_dispositions_and_an_empty_mask(
    start: Start, script: Callable[[str, str], Path], tmp_path: Path
) -> None:
    launcher, worker = script("launcher.py", LAUNCHER), script("worker.py", WORKER.format(trace=tmp_path / "trace"))
    service = start(
        f'[pools.signals]\ncommand = "{QUICK_PYTHON} {worker}"\nworkers = 20',
        prefix=(*QUICK_PYTHON.split(), str(launcher)),
    ).started()
    for slot in range(20):
        trace = tmp_path / f"trace.{slot}"
        until(trace.exists)
        _, blocked, _, ignored = trace.read_text().split()
        assert [without_libc(blocked), without_libc(ignored)] == [0, PYTHON_IGNORES]
    assert service.stop() == 0


def test_the_supervisor_hears_its_signals_all_the_same(start: Start, script: Callable[[str, str], Path]) -> None:
    launcher = script("launcher.py", LAUNCHER)
    service = start(
        '[pools.signals]\ncommand = "sleep 1000"\nworkers = 3', prefix=(*QUICK_PYTHON.split(), str(launcher))
    ).started()
    before = service.pids("signals")
    service.send(signal.SIGUSR1)
    until(lambda: "slot 0 " in service.text)
    service.send(signal.SIGHUP)
    until(lambda: "SIGHUP" in service.text)
    assert service.pids("signals") == before
    assert service.stop() == 0
    assert not any(map(alive, before))
