"""Whatever becomes of the supervisor's standard output, supervision, probes and workers go on."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.conftest import Start
from tests.faults.service import Service, polled, until

TALKER = """#!/bin/sh
i=0
while :; do
    i=$((i + 1))
    echo "this is line $i of a worker that has a lot to say about what it does, and goes on to say it"
    [ $((i % 1000)) = 0 ] && echo $i > {trace}.new && mv {trace}.new {trace}
done
"""


@pytest.fixture
def talker(script: Callable[[str, str], Path], tmp_path: Path) -> Path:
    return script("talker", TALKER.format(trace=tmp_path / "trace"))


def said(tmp_path: Path) -> int:
    trace = tmp_path / "trace"
    return int(trace.read_text()) if trace.exists() else 0


def goes_on(service: Service, tmp_path: Path) -> None:
    """Far beyond what pipes and queues could hold."""
    before = said(tmp_path)
    with polled(service, "/livez"), polled(service, "/readyz"):
        until(lambda: said(tmp_path) > before + 100_000, what="the worker waits for somebody to read")
    assert service.pool("talkers")["restarts"] == 0


def pools(talker: Path) -> str:
    return f'[pools.talkers]\ncommand = "{talker}"\n'


def test_a_reader_that_has_stopped_reading_holds_nothing_up(start: Start, talker: Path, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    service = start(pools(talker), stdout=writer).started()
    os.close(writer)
    goes_on(service, tmp_path)
    assert service.stop() == 0
    os.close(reader)


def test_a_reader_that_has_gone_holds_nothing_up(start: Start, talker: Path, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    service = start(pools(talker), stdout=writer).started()
    os.close(writer)
    os.close(reader)
    goes_on(service, tmp_path)
    assert service.stop() == 0


def test_a_full_device_holds_nothing_up(start: Start, talker: Path, tmp_path: Path) -> None:
    with open("/dev/full", "wb") as full:
        service = start(pools(talker), stdout=full).started()
    goes_on(service, tmp_path)
    assert service.stop() == 0


def test_a_closed_output_holds_nothing_up(start: Start, talker: Path, tmp_path: Path) -> None:
    service = start(pools(talker), prefix=("sh", "-c", 'exec "$@" >&- 2>&-', "sh")).started()
    goes_on(service, tmp_path)
    assert service.stop() == 0


@contextmanager
def small_disk(at: Path) -> Iterator[Path]:
    at.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(at)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        yield at
    finally:
        subprocess.run(["umount", "-l", str(at)], check=True)


def test_a_full_disk_under_a_log_file_is_reported_and_holds_nothing_up(
    start: Start, talker: Path, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk") as disk:
        logs = f'logs = {{ mode = "file", path = "{disk}/log", max_size = "10MB" }}\n'
        service = start(pools(talker) + logs).started()
        goes_on(service, tmp_path)
        assert service.text.count("cannot write log file") == 1
        assert service.get("/api/v1/pools/talkers/workers/0/logs?lines=1")[1]
        assert service.stop() == 0


def test_a_log_file_that_cannot_be_opened_is_reported_and_holds_nothing_up(
    start: Start, talker: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    logs = f'logs = {{ mode = "file", path = "{tmp_path}/file/log" }}\n'
    service = start(pools(talker) + logs).started()
    goes_on(service, tmp_path)
    assert "file/log" in service.text
    assert service.stop() == 0
