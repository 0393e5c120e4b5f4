"""An address that cannot be had: a clear sentence, exit code 1, and no worker started."""

import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.conftest import Start
from tests.faults.service import alive, until


def pools(trace: Path) -> str:
    return f"[pools.one]\ncommand = \"sh -c 'touch {trace}; exec sleep 1000'\"\n"


@contextmanager
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def refused(start: Start, tmp_path: Path, why: str, *listen: str) -> None:
    service = start(pools(tmp_path / "trace"), listen=listen)
    assert service.ended() == 1
    assert "cannot listen on" in service.text
    assert why in service.text
    assert "Traceback" not in service.text
    assert not (tmp_path / "trace").exists()


def test_a_taken_port_is_refused(start: Start, tmp_path: Path) -> None:
    with taken_port() as port:
        refused(start, tmp_path, "the port is taken by another program", f"127.0.0.1:{port}")
    assert not (tmp_path / "s").exists()


def test_an_address_of_another_machine_is_refused(start: Start, tmp_path: Path) -> None:
    refused(start, tmp_path, "this machine has no such address", "192.0.2.1:9001")


def make_directory(path: Path) -> None:
    path.mkdir()


def make_file(path: Path) -> None:
    path.write_text("a file")


@pytest.mark.parametrize("occupy", [make_directory, make_file], ids=["directory", "file"])
def test_a_path_where_something_else_is_is_refused_and_left_alone(
    start: Start, tmp_path: Path, occupy: Callable[[Path], None]
) -> None:
    occupy(tmp_path / "s")
    refused(start, tmp_path, "there is something that is not a socket")
    assert (tmp_path / "s").exists()


def test_a_socket_that_another_program_serves_is_refused_and_left_alone(start: Start, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        server.listen()
        refused(start, tmp_path, "another program serves it")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(tmp_path / "s"))


def test_a_second_supervisor_is_refused_and_the_first_serves_on(start: Start, tmp_path: Path) -> None:
    first = start('[pools.one]\ncommand = "sleep 1000"').started()
    workers = first.pids("one")
    refused(start, tmp_path, f"another supervisor is there (process {first.pid})")
    assert first.get("/readyz")[0] == 200
    assert first.pids("one") == workers


def test_the_socket_of_a_killed_supervisor_is_taken_over(start: Start) -> None:
    first = start('[pools.one]\ncommand = "sleep 1000"').started()
    workers = first.pids("one")
    first.send(signal.SIGKILL)
    first.process.wait()
    assert first.socket.exists()
    second = start('[pools.one]\ncommand = "sleep 1000"').started()
    assert second.pids("one") != workers
    until(lambda: not any(map(alive, workers)))
    assert second.stop() == 0
    assert not second.socket.exists()
