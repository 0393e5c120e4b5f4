"""`workers`, `status` and `crashes`, as typed, against canned answers."""

import fcntl
import json
import os
import pty
import socket
import struct
import subprocess
import termios

import pytest

from tests.service_cli.conftest import Answer, Chaperone, Serve
from tests.service_cli.documents import crash, pool, problem, status, worker

EMAILS, MAILS = pool("emails"), pool("mails", worker(0, id="mails-000000", queue="mails"))
ALL: dict[str, Answer] = {
    "/api/v1/status": (200, status(EMAILS, MAILS)),
    "/api/v1/pools": (200, {"pools": [EMAILS, MAILS]}),
    "/api/v1/pools/emails": (200, EMAILS),
    "/api/v1/crashes?limit=20": (200, {"crashes": [crash(2), crash(1)]}),
    "/api/v1/pools/emails/crashes?limit=1": (200, {"crashes": [crash(1)]}),
    "/api/v1/pools/mails/crashes?limit=20": (200, {"crashes": []}),
}


def in_terminal(chaperone: Chaperone, *words: str, width: int = 100, **env: str) -> str:
    """What a terminal of this width would be sent."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 25, width, 0, 0))
    env = chaperone.env | {"TERM": "xterm-256color"} | env
    with subprocess.Popen(chaperone.argv(*words), cwd=chaperone.directory, env=env, stdout=theirs) as child:
        os.close(theirs)
        sent = b""
        try:
            while part := os.read(ours, 1 << 16):
                sent += part
        except OSError:  # how Linux says that the last writer is gone
            pass
        os.close(ours)
        assert child.wait() == 0
    return sent.decode()


def test_workers_of_all_pools_are_grouped_under_a_line_for_each(chaperone: Chaperone, serve: Serve) -> None:
    ended = chaperone("workers", "--url", serve(ALL).address)
    lines = ended.out.splitlines()
    assert ended.code == 0
    assert lines[0] == "emails: running, 2/2 ready"
    assert lines[1].split("  ")[0] == "ID"
    assert [line.split()[:2] for line in lines[2:4]] == [["emails-000000", "4000"], ["emails-000001", "4001"]]
    assert lines[5] == "mails: running, 1/1 ready"


def test_workers_of_one_pool_are_a_table_alone(chaperone: Chaperone, serve: Serve) -> None:
    ended = chaperone("workers", "emails", "--url", serve(ALL).address)
    assert ended.out.startswith("ID ")
    assert len(ended.out.splitlines()) == 3


def test_json_is_the_document_of_the_api(chaperone: Chaperone, serve: Serve) -> None:
    url = serve(ALL).address
    for words, path in (
        (["workers"], "/api/v1/pools"),
        (["workers", "emails"], "/api/v1/pools/emails"),
        (["status"], "/api/v1/status"),
        (["crashes"], "/api/v1/crashes?limit=20"),
    ):
        ended = chaperone(*words, "--format", "json", "--url", url)
        assert json.loads(ended.out) == ALL[path][1]


def test_status_is_the_supervisor_and_a_line_per_pool(chaperone: Chaperone, serve: Serve) -> None:
    lines = chaperone("status", "--url", serve(ALL).address).out.splitlines()
    assert lines[0].startswith("orders: running, chaperone 1.2.3, pid 4321")
    assert [line.split()[:3] for line in lines[2:]] == [["emails", "running", "2/2"], ["mails", "running", "1/1"]]


def test_crashes_are_the_newest_first_and_with_v_their_last_output(chaperone: Chaperone, serve: Serve) -> None:
    url = serve(ALL).address
    short = chaperone("crashes", "--url", url).out
    assert [line.split()[1] for line in short.splitlines()[1:]] == ["emails-000002", "emails-000001"]
    assert "about to fail" in chaperone("crashes", "-v", "--url", url).out


def test_one_crash_has_its_output_with_nothing_in_it_that_steers_the_terminal(
    chaperone: Chaperone, serve: Serve
) -> None:
    out = chaperone("crashes", "emails", "-n", "1", "--url", serve(ALL).address).out
    assert "starting\n" in out
    assert "\x1b" not in out


def test_a_pool_without_deaths_says_so(chaperone: Chaperone, serve: Serve) -> None:
    assert chaperone("crashes", "mails", "--url", serve(ALL).address).out == "no worker has died\n"


def test_an_unknown_pool_is_exit_1_and_those_there_are(chaperone: Chaperone, serve: Serve) -> None:
    url = serve(ALL).address
    for command in ("workers", "crashes"):
        ended = chaperone(command, "email", "--url", url)
        assert (ended.code, ended.out) == (1, "")
        assert ended.err == "chaperone: there is no pool named 'email'; there are: emails, mails\n"


def test_nobody_there_is_exit_3(chaperone: Chaperone) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        ended = chaperone("status", CHAPERONE_URL=f"http://127.0.0.1:{taken.getsockname()[1]}")
    assert ended.code == 3
    assert "connection refused" in ended.err


def test_something_else_that_answers_is_exit_3(chaperone: Chaperone, serve: Serve) -> None:
    for answer in ((200, "<html>"), (200, "[]"), (502, "no"), (500, {"detail": "a bug"})):
        assert chaperone("status", "--url", serve({"/api/v1/status": answer}).address).code == 3


def test_what_does_not_speak_http_is_exit_3(chaperone: Chaperone) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with subprocess.Popen(
            chaperone.argv("status", "--url", url), env=chaperone.env, stderr=subprocess.PIPE, text=True
        ) as child:
            stream, _ = server.accept()
            with stream:
                stream.recv(1 << 16)
                stream.sendall(b"220 mail.example ESMTP\r\n")
            assert "does not speak HTTP" in child.communicate()[1]
        assert child.returncode == 3


def test_a_refusal_is_exit_4_with_the_reason_of_the_server(chaperone: Chaperone, serve: Serve) -> None:
    server = serve({"/api/v1/status": problem(401, "a token is needed")})
    ended = chaperone("status", "--url", server.address)
    assert (ended.code, "a token is needed" in ended.err) == (4, True)


def test_the_token_is_sent_over_tcp_and_not_over_the_unix_socket(chaperone: Chaperone, serve: Serve) -> None:
    tcp, unix = serve(ALL), serve(ALL, chaperone.directory / "it.sock")
    for server in (tcp, unix):
        assert chaperone("status", "--url", server.address, CHAPERONE_TOKEN="s3cret\n").code == 0
    assert tcp.requests[0][1]["Authorization"] == "Bearer s3cret"
    assert "Authorization" not in unix.requests[0][1]


def test_a_token_that_cannot_be_one_is_exit_2_and_not_shown(chaperone: Chaperone, serve: Serve) -> None:
    ended = chaperone("status", "--url", serve(ALL).address, CHAPERONE_TOKEN="s3cret\nX-Evil: 1")
    assert (ended.code, "s3cret" in ended.err) == (2, False)


def test_colour_is_not_for_pipes_unless_forced(chaperone: Chaperone, serve: Serve) -> None:
    url = serve(ALL).address
    assert "\x1b" not in chaperone("status", "--url", url).out
    assert "\x1b[32mrunning" in chaperone("status", "--url", url, FORCE_COLOR="1").out


def test_on_a_terminal_there_is_colour_unless_there_shall_be_none(chaperone: Chaperone, serve: Serve) -> None:
    url = serve(ALL).address
    assert "\x1b[32mrunning" in in_terminal(chaperone, "workers", "--url", url)
    plain = in_terminal(chaperone, "workers", "--url", url, NO_COLOR="1")
    assert "\x1b" not in plain
    assert "emails-000001" in plain
    assert "─" in plain


@pytest.mark.parametrize("width", [110, 40])
def test_a_narrow_terminal_folds_what_is_long_and_keeps_ids_whole(
    chaperone: Chaperone, serve: Serve, width: int
) -> None:
    ill = pool("emails", worker(1, problem="http: " + "x" * 60))
    url = serve({"/api/v1/pools/emails": (200, ill)}).address
    screen = in_terminal(chaperone, "workers", "emails", "--url", url, width=width, NO_COLOR="1")
    assert "emails-000001" in screen
    assert screen.count("x") == 60
    assert all(len(line) <= 110 for line in screen.splitlines())  # what the rest needs, and some for the problem


@pytest.mark.parametrize("words", [["workers", "--format", "json"], ["workers"]])
def test_a_reader_that_has_seen_enough_is_no_error(chaperone: Chaperone, serve: Serve, words: list[str]) -> None:
    many = pool("emails", *(worker(slot) for slot in range(3000)))
    url = serve({"/api/v1/pools": (200, {"pools": [many, EMAILS]})}).address
    with subprocess.Popen(
        chaperone.argv(*words, "--url", url), env=chaperone.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.readline()
        child.stdout.close()
        assert child.stderr.read() == b""
        assert child.wait() == 0


def test_a_closed_stdout_is_no_error(chaperone: Chaperone, serve: Serve) -> None:
    line = ["sh", "-c", '"$@" >&-', "sh", *chaperone.argv("workers", "--url", serve(ALL).address)]
    ended = subprocess.run(line, env=chaperone.env, stderr=subprocess.PIPE, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_an_interrupted_client_is_exit_130_without_a_traceback(chaperone: Chaperone) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with subprocess.Popen(
            chaperone.argv("status", "--url", url), env=chaperone.env, stderr=subprocess.PIPE, text=True
        ) as child:
            stream, _ = silent.accept()
            with stream:
                stream.recv(1 << 16)  # it has asked, and waits
                child.send_signal(2)
                assert child.communicate()[1] == ""
        assert child.returncode == 130
