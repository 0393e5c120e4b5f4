"""`health` and `ready`: exit codes, one line, and how little they import."""

import os
import socket
import subprocess
import sys

import pytest

from chaperone_async.service.cli.probe import Question, read_question
from tests.service_cli.conftest import Chaperone, Ended, Serve
from tests.service_cli.documents import pool, problem

READY = (200, "[+]emails ok\nreadyz check passed")
UNREADY = (
    503,
    "[+]mails ok\n[-]emails failed: 0 of 5 ready\n[-]draining failed: asked to\nreadyz check failed",
)


def test_a_healthy_supervisor_is_one_ok_and_exit_0(chaperone: Chaperone, serve: Serve) -> None:
    server = serve({"/livez?verbose": (200, "[+]supervision ok\nlivez check passed")})
    ended = chaperone("health", "--url", server.address)
    assert (ended.code, ended.out, ended.err) == (0, "ok\n", "")
    (_, headers) = server.requests[0]
    assert headers["Host"] == server.address.removeprefix("http://")


def test_an_unready_supervisor_is_its_failing_reasons_on_one_line_and_exit_1(
    chaperone: Chaperone, serve: Serve
) -> None:
    server = serve({"/readyz?verbose": UNREADY})
    ended = chaperone("ready", CHAPERONE_URL=server.address)
    assert (ended.code, ended.out) == (1, "emails failed: 0 of 5 ready; draining failed: asked to\n")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_an_answer_that_nobody_reads_is_in_the_exit_code(chaperone: Chaperone, serve: Serve, unbuffered: str) -> None:
    no, yes = serve({"/readyz?verbose": UNREADY}), serve({"/readyz?verbose": READY})
    assert chaperone.unread("ready", "--url", no.address, PYTHONUNBUFFERED=unbuffered) == Ended(1, "", "")
    assert chaperone.unread("ready", "--url", yes.address, PYTHONUNBUFFERED=unbuffered) == Ended(0, "", "")


def test_a_reason_that_the_terminal_cannot_spell_is_told_all_the_same(chaperone: Chaperone, serve: Serve) -> None:
    server = serve({"/readyz?verbose": (503, "[-]emails failed: größe")})
    ended = chaperone("ready", "--url", server.address, PYTHONIOENCODING="ascii:strict")
    assert (ended.code, ended.out) == (1, "emails failed: gr\\xf6\\xdfe\n")


def test_one_pool_is_asked_for_by_name(chaperone: Chaperone, serve: Serve) -> None:
    server = serve({"/readyz/emails?verbose": READY, "/livez/emails?verbose": UNREADY})
    assert chaperone("ready", "emails", "--url", server.address).code == 0
    assert chaperone("health", "emails", "--url", server.address).code == 1


def test_the_unix_socket_of_the_configuration_is_found(chaperone: Chaperone, serve: Serve) -> None:
    path = chaperone.directory / "it.sock"
    serve({"/livez?verbose": (200, "ok")}, path)
    config = chaperone.write(f'http.listen = ["unix:{path}"]')
    assert chaperone("health").out == "ok\n"
    assert chaperone("health", "-c", str(config), CHAPERONE_URL="http://127.0.0.1:1").out == "ok\n"
    assert chaperone("health", CHAPERONE_URL=f"unix:{path}").out == "ok\n"


def test_the_default_unix_socket_is_found_without_a_configuration(chaperone: Chaperone, serve: Serve) -> None:
    serve({"/livez?verbose": (200, "ok")}, chaperone.directory / "chaperone.sock")
    assert chaperone("health").out == "ok\n"


def test_an_unknown_pool_is_exit_1_and_those_there_are(chaperone: Chaperone, serve: Serve) -> None:
    server = serve({"/api/v1/pools": (200, {"pools": [pool("emails"), pool("mails")]})})
    ended = chaperone("ready", "email", "--url", server.address)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == "chaperone: there is no pool named 'email'; there are: emails, mails\n"


def test_an_unknown_pool_is_exit_1_even_where_the_others_are_secret(chaperone: Chaperone, serve: Serve) -> None:
    server = serve({"/api/v1/pools": problem(401, "give a token")})
    ended = chaperone("ready", "email", "--url", server.address)
    assert (ended.code, ended.err) == (1, "chaperone: there is no pool named 'email'\n")


def test_nobody_there_is_exit_3_and_says_where_it_was_tried(chaperone: Chaperone) -> None:
    with socket.socket() as taken:  # bound and not listening: refused for sure
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        ended = chaperone("health", "--url", url)
    assert ended.code == 3
    assert f"{url}: connection refused" in ended.err


def test_silence_is_exit_3_after_the_timeout(chaperone: Chaperone) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        ended = chaperone("health", "--url", f"http://127.0.0.1:{silent.getsockname()[1]}", "--timeout", "0.2")
    assert ended.code == 3
    assert "no answer in time" in ended.err


def test_a_server_of_something_else_is_exit_3(chaperone: Chaperone, serve: Serve) -> None:
    ended = chaperone("health", "--url", serve({}).address)
    assert ended.code == 3
    assert "it answers 404" in ended.err


def test_a_refusal_is_exit_4(chaperone: Chaperone, serve: Serve) -> None:
    for answer in ((403, "not from there"), problem(403, "not from there")):
        ended = chaperone("health", "--url", serve({"/livez?verbose": answer}).address)
        assert ended.code == 4
        assert ended.err.endswith("it answers 403: not from there\n")


@pytest.mark.skipif(os.getuid() == 0, reason="root may connect anywhere")
def test_a_socket_that_is_not_for_this_user_is_exit_4(chaperone: Chaperone) -> None:
    with socket.socket(socket.AF_UNIX) as stream:
        path = chaperone.directory / "closed.sock"
        stream.bind(str(path))
        stream.listen()
        path.chmod(0)
        assert chaperone("health", "--url", f"unix:{path}").code == 4


@pytest.mark.parametrize(
    "url",
    ["ftp://x", "http://", "http://x:y", "unix:relative", "127.0.0.1:9001", "http://x/api", f"http://x:{'9' * 5000}"],
)
def test_what_is_no_address_is_exit_2(chaperone: Chaperone, url: str) -> None:
    ended = chaperone("health", "--url", url)
    assert (ended.code, "it is not the address of a supervisor" in ended.err) == (2, True)


def test_a_configuration_that_is_missing_is_exit_2(chaperone: Chaperone) -> None:
    ended = chaperone("ready", "-c", "nowhere.toml")
    assert ended.code == 2
    assert "nowhere.toml: cannot read the configuration" in ended.err


def test_options_that_the_fast_path_does_not_know_get_help_and_errors_of_the_parser(chaperone: Chaperone) -> None:
    assert "example:" in chaperone("health", "--help").out
    assert chaperone("health", "--timeout", "soon").code == 2
    assert chaperone("ready", "a", "b").code == 2


@pytest.mark.parametrize(
    ("words", "question"),
    [
        (["health"], Question("health")),
        (["ready", "emails"], Question("ready", "emails")),
        (["ready", "-c", "a.toml", "emails"], Question("ready", "emails", config="a.toml")),
        (["ready", "--config=a.toml", "--url", "unix:/x"], Question("ready", config="a.toml", url="unix:/x")),
        (["ready", "--timeout=2"], Question("ready", timeout=2)),
        (["ready", "--url"], None),
        (["ready", "--url="], None),
        (["ready", "-c=a"], None),
        (["ready", "--timeout", "0.5"], None),
        (["ready", "--timeout", "10000000000"], None),
        (["ready", "-h"], None),
        (["ready", "--", "emails"], None),
        (["ready", "a", "b"], None),
    ],
)
def test_plain_command_lines_are_read_without_a_parser(words: list[str], question: Question | None) -> None:
    assert read_question(words) == question


HEAVY = {
    "aiohttp", "anyio", "argparse", "asyncio", "dataclasses", "email", "http.client", "inspect", "json", "logging",
    "msgspec", "orjson", "psutil", "rich", "ssl", "subprocess", "threading",
}  # fmt: skip


@pytest.mark.parametrize("addressed", [True, False])
def test_a_probe_imports_almost_nothing(chaperone: Chaperone, serve: Serve, addressed: bool) -> None:
    path = chaperone.directory / "chaperone.sock"
    serve({"/livez?verbose": (200, "ok")}, path)
    chaperone.write('name = "orders"')
    words = ["health", "--url", f"unix:{path}"] if addressed else ["health"]
    code = f"import sys; from chaperone_async.__main__ import main; sys.argv[1:] = {words}; main(); print(*sys.modules)"
    ended = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {chaperone.env['PYTHONPATH']!r}); {code}"],
        cwd=chaperone.directory, env=chaperone.env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    ok, modules = ended.stdout.splitlines()
    assert ok == "ok"
    assert not HEAVY & set(modules.split())
    assert ("tomllib" in modules.split()) is not addressed
