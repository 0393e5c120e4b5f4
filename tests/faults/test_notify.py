"""A notify socket under attack: what is not the worker's own is dropped, and supervision goes on."""

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.conftest import Start
from tests.faults.service import QUICK_PYTHON, Service, alive, descriptors, polled, resident, until

SPEAKER = """
import os, socket, time
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
    own.connect(os.environ["NOTIFY_SOCKET"])
    with open("{trace}.new", "w") as file:
        file.write(os.environ["NOTIFY_SOCKET"])
    os.rename("{trace}.new", "{trace}")
    while not os.path.exists("{go}"):
        time.sleep(0.01)
    {say}
    own.send(b"X_CHAPERONE_DONE=7\\nSTATUS=all said")
    time.sleep(1000)
"""
POOLS = """
[pools.speaker]
command = "{quick} {script}"
restart.start_seconds = 0.1

[pools.good]
command = "sleep 1000"
"""


def speaker(start: Start, script: Callable[[str, str], Path], tmp_path: Path, say: str) -> tuple[Service, str]:
    text = SPEAKER.format(trace=tmp_path / "trace", go=tmp_path / "go", say=say)
    service = start(POOLS.format(quick=QUICK_PYTHON, script=script("speaker.py", text))).started()
    until((tmp_path / "trace").exists)
    return service, (tmp_path / "trace").read_text()


def has_said_all(service: Service) -> bool:
    worker = service.pool("speaker")["workers"][0]
    return bool(worker["message"] == "all said" and worker["jobs_processed"] == 7)


FLOOD = """
    for number in range(100_000):
        own.send(b"X_CHAPERONE_DONE=3\\nSTATUS=%d" % number)
"""
GARBAGE = """
    for data in (b"", b"\\0" * 4000, b"=", b"X_CHAPERONE_DONE=-1", b"X_CHAPERONE_DONE=1e99", b"STATUS=\\xff\\xfe",
                 b"X_CHAPERONE_EVENT=end", b"EXTEND_TIMEOUT_USEC=x", b"A" * 60000, b"READY=2\\n" * 100, b"\\n" * 100):
        for _ in range(100):
            own.send(data)
"""
DESCRIPTORS = """
    for _ in range(1000):
        socket.send_fds(own, [b"FDSTORE=1"], [0, 1, 2, own.fileno()])
"""


def test_a_hundred_thousand_messages_delay_nobody(
    start: Start, script: Callable[[str, str], Path], tmp_path: Path
) -> None:
    service, _ = speaker(start, script, tmp_path, FLOOD.strip())
    before = resident(service.pid)
    with polled(service, "/livez"), polled(service, "/readyz"):
        (tmp_path / "go").touch()
        until(lambda: has_said_all(service))
    assert resident(service.pid) - before < 10 << 20
    assert service.pool("speaker")["restarts"] == 0
    assert service.stop() == 0


def test_garbage_is_dropped(start: Start, script: Callable[[str, str], Path], tmp_path: Path) -> None:
    service, _ = speaker(start, script, tmp_path, GARBAGE.strip())
    (tmp_path / "go").touch()
    until(lambda: has_said_all(service))
    assert service.pool("speaker")["restarts"] == 0
    assert "Traceback" not in service.text
    assert service.stop() == 0


def test_descriptors_that_are_sent_along_are_closed(
    start: Start, script: Callable[[str, str], Path], tmp_path: Path
) -> None:
    service, _ = speaker(start, script, tmp_path, DESCRIPTORS.strip())
    before = descriptors(service.pid)
    (tmp_path / "go").touch()
    until(lambda: has_said_all(service))
    until(lambda: descriptors(service.pid) <= before + 2)
    assert service.stop() == 0


def test_a_stranger_is_not_heard(start: Start, script: Callable[[str, str], Path], tmp_path: Path) -> None:
    service, address = speaker(start, script, tmp_path, "")
    pid = service.pids("speaker")[0]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
        stranger.connect(address)
        for _ in range(1000):
            stranger.send(b"STOPPING=1\nX_CHAPERONE_DONE=1000\nSTATUS=a lie")
    (tmp_path / "go").touch()
    until(lambda: has_said_all(service))
    assert service.pids("speaker") == [pid]
    assert alive(pid)
    assert "stopping" not in service.text
    assert service.stop() == 0


@pytest.mark.parametrize("levels", [0, 1, 2], ids=["socket", "pool", "everything"])
def test_a_worker_that_removes_its_socket_does_not_silence_its_successor(
    start: Start, levels: int, script: Callable[[str, str], Path], tmp_path: Path
) -> None:
    service, address = speaker(start, script, tmp_path, "")
    removed = [Path(address), *Path(address).parents][levels]
    shutil.rmtree(removed) if removed.is_dir() else removed.unlink()
    before = service.pids("speaker")
    os.kill(before[0], 9)
    (tmp_path / "go").touch()
    until(lambda: has_said_all(service))
    assert service.pids("speaker") != before
    assert service.stop() == 0
