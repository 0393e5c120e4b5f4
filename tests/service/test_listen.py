"""Addresses: all are bound, or none and the error says why; a unix socket's path is taken from the dead only."""

import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from chaperone_async.errors import ListenError
from chaperone_async.service.http.listen import Listener, bind, loopback_only

SUPERVISOR = """
import sys
from chaperone_async.service.http.listen import bind
listeners = bind(sys.argv[1:])
print("bound", flush=True)
sys.stdin.read()
for listener in listeners:
    listener.close()
"""


@contextmanager
def bound(*addresses: str) -> Iterator[list[Listener]]:
    listeners = bind(addresses)
    try:
        yield listeners
    finally:
        for listener in listeners:
            listener.close()


@contextmanager
def another_supervisor(address: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-c", SUPERVISOR, address]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "bound\n"
        yield process


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def refusal(*addresses: str) -> str:
    with pytest.raises(ListenError) as caught:
        bind(addresses)
    return str(caught.value)


def test_any_port_becomes_a_real_one_that_accepts() -> None:
    with bound("127.0.0.1:0") as (listener,):
        port = int(re.fullmatch(r"127\.0\.0\.1:(\d+)", listener.address)[1])  # type: ignore[index]  # no match fails the test
        assert not listener.is_unix
        socket.create_connection(("127.0.0.1", port)).close()


def test_ipv6_is_written_in_brackets() -> None:
    with bound("[::1]:0") as (listener,):
        assert re.fullmatch(r"\[::1\]:\d+", listener.address)


def test_all_addresses_of_both_families_share_a_port() -> None:
    port = free_port()
    with bound(f"0.0.0.0:{port}", f"[::]:{port}") as listeners:
        assert [listener.address for listener in listeners] == [f"0.0.0.0:{port}", f"[::]:{port}"]


def test_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        why = "the port is taken by another program; stop that one, or choose another port in http.listen"
        assert refusal(address) == f"cannot listen on {address}: {why}"


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("no.such.host.invalid:9001", "cannot be resolved"),
        ("192.0.2.1:9001", "this machine has no such address; use 127.0.0.1"),
        ("9001", "it is not an address; write 127.0.0.1:9001 or unix:/path"),
        ("127.0.0.1:http", "it is not an address"),
        ("127.0.0.1:65536", "it is not an address"),
        (f"127.0.0.1:{'9' * 5000}", "it is not an address"),
    ],
)
def test_an_address_that_cannot_be_had_says_what_can(address: str, words: str) -> None:
    assert refusal(address).startswith(f"cannot listen on {address}: ")
    assert words in refusal(address)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody without privileges")
def test_a_privileged_port_is_explained() -> None:
    code = (
        "import encodings.idna, os; from chaperone_async.service.http.listen import bind\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "try: bind(['127.0.0.1:81'])\n"
        "except Exception as error: print(error)"
    )
    lowest = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    if lowest <= 81:
        pytest.skip("every port is for everybody here")
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "ports under 1024 are for privileged programs; choose one from 1024 up" in answer


def test_one_failure_unbinds_all(tmp_path: Path) -> None:
    port, path = free_port(), tmp_path / "s.sock"
    refusal(f"127.0.0.1:{port}", f"unix:{path}", "127.0.0.1:x")
    assert list(tmp_path.iterdir()) == []
    with bound(f"127.0.0.1:{port}"):
        pass


def test_a_unix_socket_is_for_its_owner_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "run" / "deep" / "s.sock"
    with bound(f"unix:{path}") as (listener,):
        assert listener.is_unix
        assert listener.address == f"unix:{path}"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == []


def test_the_mode_of_a_unix_socket_can_be_chosen(tmp_path: Path) -> None:
    path = tmp_path / "run" / "s.sock"
    (listener,) = bind([f"unix:{path}"], unix_mode=0o660)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o710
    listener.close()


@pytest.mark.parametrize(
    ("address", "expected"),
    [("127.0.0.1:0", True), ("127.8.9.1:0", True), ("[::1]:0", True), ("0.0.0.0:0", False), ("[::]:0", False)],
)
def test_loopback_addresses_are_told_from_those_that_others_can_reach(
    tmp_path: Path, address: str, expected: bool
) -> None:
    with bound(f"unix:{tmp_path}/s.sock", "127.0.0.1:0", address) as listeners:
        assert loopback_only(listeners) is expected


def test_the_socket_of_a_killed_supervisor_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    with another_supervisor(f"unix:{path}") as process:
        process.send_signal(signal.SIGKILL)
    assert path.is_socket()
    with bound(f"unix:{path}"), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_the_socket_of_a_living_supervisor_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    with another_supervisor(f"unix:{path}") as process:
        why = f"another supervisor is there (process {process.pid}); stop that one, or choose another path"
        assert refusal(f"unix:{path}") == f"cannot listen on unix:{path}: {why} in http.listen"
        assert path.is_socket()
        process.communicate("")
    assert list(tmp_path.iterdir()) == []


def test_a_socket_that_another_program_serves_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        assert "another program serves it" in refusal(f"unix:{path}")
        assert path.is_socket()
    assert not (tmp_path / "s.sock.lock").exists()


def test_a_busy_server_with_a_full_backlog_counts_as_living(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as waiting:
        server.bind(str(path))
        server.listen(0)
        waiting.connect(str(path))
        assert "another program serves it" in refusal(f"unix:{path}")


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_what_is_not_a_socket_is_not_touched(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "s.sock"
    match kind:
        case "file":
            path.touch()
        case "directory":
            path.mkdir()
        case _:
            path.symlink_to("elsewhere")
    assert "there is something that is not a socket; remove it" in refusal(f"unix:{path}")
    assert path.is_symlink() or path.exists()


def test_a_path_through_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "a part of the path is not a directory" in refusal(f"unix:{tmp_path}/file/s.sock")


def test_closing_leaves_a_socket_that_somebody_else_has_put_there(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    (ours,) = bind([f"unix:{path}"])
    path.unlink()
    with socket.socket(socket.AF_UNIX) as theirs:
        theirs.bind(str(path))
        ours.close()
        assert path.is_socket()
        ours.close()  # a second time, it does nothing
        assert path.is_socket()


def test_of_many_starters_on_one_dead_socket_one_wins(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    won: list[Listener] = []
    lost: list[str] = []
    gate = threading.Barrier(8)

    def start() -> None:
        gate.wait()
        try:
            won.extend(bind([f"unix:{path}"]))
        except ListenError as error:
            lost.append(str(error))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert all("another supervisor is there" in why for why in lost)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    won[0].close()


@pytest.fixture
def everybodys(tmp_path: Path) -> Path:
    """A directory such as /tmp."""
    place = tmp_path / "tmp"
    place.mkdir()
    place.chmod(0o1777)
    return place


def test_a_directory_that_we_make_in_tmp_is_ours_alone(everybodys: Path) -> None:
    with bound(f"unix:{everybodys}/chaperone-0/s.sock"):
        assert stat.S_IMODE((everybodys / "chaperone-0").stat().st_mode) == 0o700


def test_a_directory_in_tmp_where_others_may_write_is_refused(everybodys: Path) -> None:
    place = everybodys / "chaperone-0"
    place.mkdir()
    place.chmod(0o777)
    assert f"other users may write in it; run: chmod go-w {place}" in refusal(f"unix:{place}/s.sock")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give directories away")
def test_a_directory_in_tmp_that_is_anothers_is_refused(everybodys: Path) -> None:
    place = everybodys / "chaperone-0"
    place.mkdir()
    os.chown(place, 12345, 12345)
    assert "it belongs to another user (uid 12345)" in refusal(f"unix:{place}/s.sock")


def test_a_link_in_tmp_is_not_followed(everybodys: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (everybodys / "chaperone-0").symlink_to(tmp_path / "elsewhere")
    assert "it is not a directory" in refusal(f"unix:{everybodys}/chaperone-0/s.sock")


def test_a_request_before_there_is_a_server_waits_in_the_backlog(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    with bound(f"unix:{path}") as (listener,), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(b"early")
        listener.socket.settimeout(60)
        accepted, _ = listener.socket.accept()
        with accepted:
            assert accepted.recv(5) == b"early"
