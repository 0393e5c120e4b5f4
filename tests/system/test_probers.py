"""Checks against real servers, programs and functions. After every test, no descriptor and no task is left."""

import asyncio
import os
import shutil
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from chaperone_async.core.events import WorkerRef
from chaperone_async.core.spec import HealthPolicy, Launch, PoolSpec
from chaperone_async.errors import ConfigError, StopPool
from chaperone_async.system.ports import Prober, Verdict
from chaperone_async.system.probers import PythonProber, http, load_check, make_probers
from chaperone_async.system.probers.connecting import connect, judge
from chaperone_async.system.proc import sessions

REF = WorkerRef("mail", 3, 7)
PASS = Verdict(passed=True)

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Relatives:
    """Stands in for the supervisor's book of its own children."""

    def __init__(self) -> None:
        self.pids: set[int] = set()
        self.ever: list[int] = []
        self.mark = {"BY": "s"}

    def add(self, pid: int) -> None:
        self.pids.add(pid)
        self.ever.append(pid)

    def discard(self, pid: int) -> None:
        self.pids.discard(pid)

    @contextmanager
    def spawning(self) -> Iterator[None]:
        yield


@pytest.fixture(autouse=True)
async def nothing_left() -> AsyncIterator[None]:
    files, tasks = open_files(), len(asyncio.all_tasks())
    yield
    await until(lambda: open_files() <= files)
    await until(lambda: len(asyncio.all_tasks()) <= tasks)


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


async def until(fact: Callable[[], object]) -> None:
    with anyio.fail_after(60):
        while not fact():
            await anyio.sleep(0.005)


def pool(timeout: float = 10.0, **health: Any) -> PoolSpec:
    return PoolSpec(name="mail", command=("x",), health=HealthPolicy(timeout=timeout, **health))


def only(spec: PoolSpec, relatives: Relatives | None = None) -> Prober:
    (prober,) = make_probers(spec, relatives or Relatives())
    return prober


async def probe(prober: Prober) -> Verdict:
    return await prober.probe(REF, "mail-1a2b3c", 4242)


@asynccontextmanager
async def serving(answer: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server that lets each connection be answered to its end, whatever the client does."""
    busy: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        busy.add(writer)
        try:
            await answer(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            return
        finally:
            writer.close()
            busy.discard(writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in busy:
            writer.transport.abort()
        await until(lambda: not busy)


def saying(text: str) -> Answer:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(text.encode())
        await writer.drain()

    return answer


async def hang(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    while await reader.read(1000):
        pass


# http


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        ("HTTP/1.1 200 OK\r\n\r\n", Verdict(passed=True, detail="http 200")),
        ("HTTP/1.0 204\r\n\r\n", Verdict(passed=True, detail="http 204")),
        ("HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", Verdict(passed=True, detail="http 302")),
        ("HTTP/1.1 399 Odd\r\n\r\n", Verdict(passed=True, detail="http 399")),
        ("HTTP/1.1 400 Bad\r\n\r\n", Verdict(passed=False, detail="http 400")),
        ("HTTP/1.1 404 Not Found\r\n\r\n", Verdict(passed=False, detail="http 404")),
        ("HTTP/1.1 500 Oops\r\n\r\n", Verdict(passed=False, detail="http 500")),
        ("HTTP/1.1 199 Odd\r\n\r\n", Verdict(passed=False, detail="http 199")),
        ("HTTP/1.1 200 OK\r\n\r\n" + "x" * 1_000_000, Verdict(passed=True, detail="http 200")),
        ("SSH-2.0-OpenSSH\r\n", Verdict(passed=False, detail="not HTTP: 'SSH-2.0-OpenSSH\\r\\n'")),
        ("HTTP/1.1 2000 OK\r\n", Verdict(passed=False, detail="not HTTP: 'HTTP/1.1 2000 OK\\r\\n'")),
        ("HTTP/1.1 200", Verdict(passed=False, detail="not HTTP: 'HTTP/1.1 200'")),
        ("x" * 100_000, Verdict(passed=False, detail="not HTTP: the first line does not end")),
        ("", Verdict(passed=False, detail="connection closed without an answer")),
    ],
    ids=lambda value: value[:24].strip() if isinstance(value, str) else "",
)
async def test_http_judges_by_the_status_line(answer: str, verdict: Verdict) -> None:
    async with serving(saying(answer)) as port:
        assert await probe(only(pool(http=f"http://127.0.0.1:{port}/health"))) == verdict


async def test_http_asks_as_a_probe_should_with_placeholders_expanded() -> None:
    asked: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")

    async with serving(answer) as port:
        await probe(only(pool(http=f"http://127.0.0.1:{port}/{{slot}}/über?w={{worker_id}}&q=a b#part")))
    request, host, *rest = asked[0].split("\r\n")
    assert request == "GET /3/%C3%BCber?w=mail-1a2b3c&q=a%20b HTTP/1.1"
    assert host == f"Host: 127.0.0.1:{port}"
    assert "User-Agent: chaperone-probe" in rest
    assert "Connection: close" in rest


async def test_http_fails_when_no_answer_comes_in_time() -> None:
    async with serving(hang) as port:
        verdict = await probe(only(pool(timeout=0.2, http=f"http://127.0.0.1:{port}/")))
    assert verdict == Verdict(passed=False, detail="no answer within 0.2 s")


async def test_http_is_not_kept_waiting_by_a_trickle() -> None:
    async def trickle(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not writer.is_closing():
            writer.write(b"H")
            await writer.drain()
            await asyncio.sleep(0.05)

    async with serving(trickle) as port:
        verdict = await probe(only(pool(timeout=0.3, http=f"http://127.0.0.1:{port}/")))
    assert verdict == Verdict(passed=False, detail="no answer within 0.3 s")


async def test_http_passes_on_the_status_even_when_the_rest_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
        await hang(reader, writer)

    async with serving(answer) as port:
        for timeout, linger in ((2.0, 4.0), (10.0, 0.2)):  # shorter and longer than the answer is listened to
            monkeypatch.setattr(http, "_LINGER", linger)
            started = time.monotonic()
            verdict = await probe(only(pool(timeout=timeout, http=f"http://127.0.0.1:{port}/")))
            assert verdict == Verdict(passed=True, detail="http 200")
            assert time.monotonic() - started < 9


async def test_http_says_that_the_connection_was_reset() -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        writer.transport.abort()

    async with serving(reset) as port:
        verdict = await probe(only(pool(http=f"http://127.0.0.1:{port}/")))
    assert verdict == Verdict(passed=False, detail="connection reset")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("check", ["http", "tcp"])
async def test_a_refused_connection_is_a_failure(check: str, host: str) -> None:
    port = free_port()
    spec = pool(http=f"http://{host}:{port}/") if check == "http" else pool(tcp=f"{host}:{port}")
    assert await probe(only(spec)) == Verdict(passed=False, detail="connection refused")


@pytest.mark.parametrize("check", ["http", "tcp"])
async def test_a_host_without_an_address_says_nothing_about_the_worker(check: str) -> None:
    spec = pool(http="http://no.such.host.invalid/") if check == "http" else pool(tcp="no.such.host.invalid:80")
    verdict = await probe(only(spec))
    assert verdict.passed is None
    assert verdict.detail.startswith("cannot look up the host: ")


@pytest.mark.parametrize("check", ["http", "tcp"])
async def test_lookups_that_hang_say_nothing_about_a_worker_and_do_not_hold_up_an_address_of_numbers(
    check: str,
) -> None:
    release = threading.Event()
    with ThreadPoolExecutor(1) as threads:
        asyncio.get_running_loop().set_default_executor(threads)
        threads.submit(release.wait)
        try:
            async with serving(saying("HTTP/1.1 200 OK\r\n\r\n") if check == "http" else hang) as port:
                for host, passed in (("localhost", None), ("127.0.0.1", True)):
                    health = {"http": f"http://{host}:{port}/"} if check == "http" else {"tcp": f"{host}:{port}"}
                    verdict = await probe(only(pool(timeout=10.0 if passed else 0.1, **health)))
                    assert verdict.passed is passed
                    assert passed or verdict.detail == "the host 'localhost' was not looked up within 0.1 s"
        finally:
            release.set()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make a certificate")
    pem = tmp_path_factory.mktemp("tls") / "both.pem"
    request = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    files = ["-keyout", str(pem), "-out", f"{pem}.cert", "-subj", "/CN=elsewhere", "-days", "1"]
    subprocess.run(request + files, check=True, capture_output=True)
    pem.write_text(pem.read_text() + Path(f"{pem}.cert").read_text())
    return pem


async def test_https_does_not_ask_who_signed_the_certificate(certificate: Path) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    async with serving(saying("HTTP/1.1 200 OK\r\n\r\n"), tls) as port:
        assert await probe(only(pool(http=f"https://127.0.0.1:{port}/"))) == Verdict(passed=True, detail="http 200")


async def test_https_to_a_server_without_tls_fails() -> None:
    async def plain(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await writer.drain()

    async with serving(plain) as port:
        verdict = await probe(only(pool(http=f"https://127.0.0.1:{port}/")))
    assert verdict.passed is False
    assert verdict.detail.startswith("tls: ")


async def test_https_gives_up_on_a_handshake_that_hangs() -> None:
    async with serving(hang) as port:
        verdict = await probe(only(pool(timeout=0.2, http=f"https://127.0.0.1:{port}/")))
    assert verdict == Verdict(passed=False, detail="no answer within 0.2 s")


async def test_a_cancelled_http_probe_closes_its_connection() -> None:
    closed = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await hang(reader, writer)
        closed.set()

    async with serving(answer) as port:
        task = asyncio.create_task(probe(only(pool(http=f"http://127.0.0.1:{port}/"))))
        await until(lambda: open_connections(port) >= 2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with anyio.fail_after(60):
            await closed.wait()


def open_connections(port: int) -> int:
    lines = Path("/proc/self/net/tcp").read_text().splitlines()
    return sum(f":{port:04X} " in line and line.split()[3] == "01" for line in lines)


@pytest.mark.parametrize(
    ("health", "why"),
    [
        ({"http": "ftp://host/"}, "is no web address; write one such as http://127.0.0.1:8080/health"),
        ({"http": "127.0.0.1:80"}, "is no web address"),
        ({"http": "http:///path"}, "is no web address"),
        ({"http": "http://host:99999/"}, "is no web address: port out of range 0-65535"),
        ({"http": "http://me:secret@host/"}, "the address carries credentials; leave them out"),
        ({"tcp": "host"}, "is no address; write host:port"),
        ({"tcp": "::1:80"}, "is no address; write host:port, such as 127.0.0.1:8080 or [::1]:8080"),
        ({"tcp": "host:0"}, "is no address"),
        ({"tcp": "a..b:80"}, "is no address: 'a..b' cannot be a host's name"),
    ],
)
async def test_an_address_that_cannot_be_one_is_refused_at_once(health: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=r"^cannot check pool 'mail' by ") as refusal:
        make_probers(pool(**health), Relatives())
    assert why in str(refusal.value)


@pytest.mark.parametrize("health", [{"http": "http://127.0.0.1:6553{slot}/"}, {"tcp": "127.0.0.1:6553{slot}"}])
async def test_a_port_that_a_later_slot_drives_too_high_is_unknown(health: dict[str, Any]) -> None:
    prober = only(pool(**health))
    assert (await prober.probe(WorkerRef("mail", 9, 1), "mail-1a2b3c", 1)).passed is None


# tcp


@pytest.mark.parametrize(
    ("bind", "written"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]"), ("127.0.0.1", "localhost")]
)
async def test_tcp_passes_when_the_port_accepts(bind: str, written: str) -> None:
    with socket.socket(socket.AF_INET6 if ":" in bind else socket.AF_INET) as listener:
        try:
            listener.bind((bind, 0))
        except OSError:
            pytest.skip("no IPv6 here")
        listener.listen()
        assert await probe(only(pool(tcp=f"{written}:{listener.getsockname()[1]}"))) == PASS


async def test_an_address_that_this_machine_cannot_use_hides_no_other() -> None:
    """As ::1 of localhost where the kernel has no IPv6."""
    unusable = (socket.AddressFamily.AF_UNSPEC, socket.SOCK_STREAM, 0, "", ("::1", 1))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        there = (socket.AF_INET, socket.SOCK_STREAM, 0, "", listener.getsockname())
        with pytest.raises(ConnectionRefusedError):
            await connect([unusable, there, unusable])
        listener.listen()
        (await connect([unusable, there])).close()
    with pytest.raises(OSError, match="not supported") as refused:
        await connect([unusable])
    assert judge(refused.value).passed is None


async def test_tcp_fails_when_the_backlog_is_full() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        with socket.create_connection(address):
            verdict = await probe(only(pool(timeout=0.2, tcp=f"127.0.0.1:{address[1]}")))
    assert verdict == Verdict(passed=False, detail="no answer within 0.2 s")


# exec


def shell(script: str) -> tuple[str, ...]:
    return ("sh", "-c", script)


@pytest.mark.parametrize(
    ("script", "verdict"),
    [
        ("exit 0", PASS),
        ("exit 3", Verdict(passed=False, detail="exit code 3")),
        ("echo first >&2; echo no luck >&2; echo >&2; exit 1", Verdict(passed=False, detail="exit code 1: no luck")),
        ("kill -9 $$", Verdict(passed=False, detail="killed by SIGKILL")),
        (
            "head -c 1000000 /dev/zero | tr '\\0' x; echo; echo end; exit 1",
            Verdict(passed=False, detail="exit code 1: end"),
        ),
        ("cat; exit 5", Verdict(passed=False, detail="exit code 5")),  # nothing to read, and no waiting for it
    ],
)
async def test_exec_judges_by_the_exit_code(script: str, verdict: Verdict) -> None:
    relatives = Relatives()
    assert await probe(only(pool(exec=shell(script)), relatives)) == verdict
    assert len(relatives.ever) == 1
    assert relatives.pids == set()


async def test_exec_tells_the_program_whom_it_checks(tmp_path: Path) -> None:
    told = tmp_path / "told"
    script = (
        f'echo "$0 $CHAPERONE_POOL $CHAPERONE_SLOT $CHAPERONE_WORKER_ID $CHAPERONE_WORKER_PID $A $PWD $BY" > {told}'
    )
    spec = PoolSpec(
        name="mail",
        command=("x",),
        launch=Launch(env=(("A", "1"),), directory=str(tmp_path)),
        health=HealthPolicy(exec=("sh", "-c", script, "{worker_id}")),
    )
    assert await probe(only(spec)) == PASS
    assert told.read_text().split() == ["mail-1a2b3c", "mail", "3", "mail-1a2b3c", "4242", "1", str(tmp_path), "s"]


async def test_a_program_that_cannot_be_started_is_unknown_and_says_why() -> None:
    verdict = await probe(only(pool(exec=("./no-such-check",))))
    assert verdict.passed is None
    assert "no-such-check" in verdict.detail


async def test_exec_kills_the_whole_session_when_time_is_up(tmp_path: Path) -> None:
    relatives = Relatives()
    script = "set -m; sleep 100 & touch ready; wait"  # a job of its own process group, but of the same session
    for timeout in (0.5, 2.0, 8.0, 30.0):  # until it is enough for the script to begin
        health = HealthPolicy(timeout=timeout, exec=shell(script))
        spec = PoolSpec(name="mail", command=("x",), launch=Launch(directory=str(tmp_path)), health=health)
        assert await probe(only(spec, relatives)) == Verdict(passed=False, detail=f"no answer within {timeout:g} s")
        await until(lambda: not living(relatives.ever[-1]))
        if (tmp_path / "ready").exists():
            return
    pytest.fail("it never began")


async def test_what_a_passing_program_leaves_running_is_killed_and_not_waited_for() -> None:
    relatives = Relatives()
    started = time.monotonic()
    assert await probe(only(pool(exec=shell("sleep 100 & exit 0")), relatives)) == PASS
    assert time.monotonic() - started < 50
    await until(lambda: not living(relatives.ever[0]))


@pytest.mark.parametrize("colour", ["asyncio", "anyio"])
async def test_a_cancelled_exec_probe_leaves_no_process(tmp_path: Path, colour: str) -> None:
    ready = tmp_path / "ready"
    relatives = Relatives()
    prober = only(pool(exec=shell(f"touch {ready}; sleep 100")), relatives)
    if colour == "asyncio":
        task = asyncio.create_task(probe(prober))
        await until(ready.exists)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(probe, prober)
            await until(ready.exists)
            tasks.cancel_scope.cancel()
    assert relatives.pids == set()
    await until(lambda: not living(relatives.ever[0]))


async def test_an_exec_probe_cancelled_while_it_starts_leaves_no_process() -> None:
    relatives = Relatives()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await probe(only(pool(exec=shell("sleep 100")), relatives))
    assert scope.cancelled_caught
    assert relatives.pids == set()
    await until(lambda: not any(living(pid) for pid in relatives.ever))


def living(session: int) -> list[int]:
    """Members of the session that are no zombies: those are their new parent's to reap."""
    members = [pid for pid, of in sessions() if of == session]
    return [pid for pid in members if (state := state_of(pid)) and state != "Z"]


def state_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


# python


def python(
    *checks: Callable[..., object], timeout: float = 10.0, errors: list[BaseException] | None = None
) -> PythonProber:
    def on_error(ref: WorkerRef, error: BaseException) -> None:
        assert ref == REF
        if errors is not None:
            errors.append(error)

    return PythonProber(checks, timeout, lambda ref: f"worker in slot {ref.slot}", on_error)


async def test_python_passes_on_whatever_is_true_in_either_colour() -> None:
    seen: list[tuple[object, bool]] = []

    def sync(worker: object) -> object:
        seen.append((worker, threading.current_thread() is threading.main_thread()))
        return [1]

    async def coloured(worker: object) -> object:
        seen.append((worker, threading.current_thread() is threading.main_thread()))
        return "yes"

    class Callable_:  # noqa: N801  no name of its own
        async def __call__(self, _worker: object) -> bool:
            return True

    assert await probe(python(sync, coloured, Callable_(), partial(coloured))) == PASS
    assert seen[:2] == [("worker in slot 3", False), ("worker in slot 3", True)]


async def test_python_fails_with_what_was_returned() -> None:
    def healthy(_worker: object) -> None:
        return None

    assert await probe(python(lambda _: True, healthy)) == Verdict(passed=False, detail="healthy returned None")


@pytest.mark.parametrize("error", [ValueError("odd"), StopPool("enough"), SystemExit(3), TimeoutError("its own")])
@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_a_python_check_that_raises_is_unknown_and_its_error_told(error: BaseException, colour: str) -> None:
    def sync(_worker: object) -> bool:
        raise error

    async def coloured(_worker: object) -> bool:
        raise error

    errors: list[BaseException] = []
    verdict = await probe(python(sync if colour == "sync" else coloured, errors=errors))
    assert verdict.passed is None
    assert f"raised {type(error).__name__}: {error}" in verdict.detail
    assert errors == [error]


async def test_an_async_check_that_hangs_is_cut_off() -> None:
    async def forever(_worker: object) -> bool:
        await anyio.sleep_forever()
        return True

    assert await probe(python(forever, timeout=0.1)) == Verdict(passed=False, detail="no answer within 0.1 s")


async def test_a_sync_check_that_hangs_is_left_behind_and_does_not_starve_the_rest() -> None:
    release = threading.Event()
    try:
        prober = python(lambda _: release.wait(), timeout=1.0)  # time enough for sixteen threads to begin
        async with anyio.create_task_group() as tasks:
            for _ in range(16):
                tasks.start_soon(probe, prober)
        assert await probe(prober) == Verdict(passed=None, detail="no thread was free within 1 s: earlier checks hang")
        assert len(prober._threads) == 16
    finally:
        release.set()
    assert await probe(prober) == PASS


async def test_a_check_that_never_returns_does_not_keep_the_program_alive() -> None:
    program = """
        import asyncio, threading
        from chaperone_async.system.probers import PythonProber

        prober = PythonProber((lambda _: threading.Event().wait(),), 2.0, lambda ref: ref, print)
        print(asyncio.run(prober.probe(None, "mail-1a2b3c", 1)).detail)
    """
    with anyio.fail_after(60):
        ended = await anyio.run_process([sys.executable, "-c", textwrap.dedent(program)])
    assert ended.stdout == b"no answer within 2 s\n"


async def test_a_worker_that_is_gone_is_not_checked() -> None:
    def nobody(ref: WorkerRef) -> object:
        raise KeyError(ref)

    prober = PythonProber((lambda _: True,), 1.0, nobody, lambda _ref, _error: None)
    assert await probe(prober) == Verdict(passed=None, detail="the worker is gone")


@pytest.fixture
def checks_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.delitem(sys.modules, "mychecks", raising=False)
    monkeypatch.delitem(sys.modules, "broken", raising=False)
    (tmp_path / "mychecks.py").write_text(
        "LIMIT = 3\n"
        "def healthy(worker): return worker == 'the worker'\n"
        "class Checks:\n"
        "    @staticmethod\n"
        "    def alive(worker): return True\n"
    )
    (tmp_path / "broken.py").write_text("1 / 0\n")


@pytest.mark.usefixtures("checks_module")
async def test_a_check_in_the_current_directory_is_found_and_called_with_the_worker() -> None:
    spec = pool(python="mychecks:healthy")
    (prober,) = make_probers(spec, Relatives(), worker_of=lambda _ref: "the worker")
    assert prober.check == "python"
    assert await probe(prober) == PASS
    assert load_check("mychecks:Checks.alive")(None) is True


@pytest.mark.usefixtures("checks_module")
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("mychecks", "it names no function; write module:function, such as myapp.checks:healthy"),
        ("mychecks:helthy", "there is no 'helthy' in mychecks; did you mean 'healthy'?"),
        ("mychecks:LIMIT", "'LIMIT' is a int; name a function that takes the worker"),
        ("nochecks:healthy", "importing nochecks raised ModuleNotFoundError: No module named 'nochecks'"),
        ("broken:healthy", "importing broken raised ZeroDivisionError: division by zero"),
    ],
)
async def test_a_check_that_cannot_be_loaded_is_refused_saying_why(name: str, why: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        load_check(name)
    assert str(refusal.value) == f"cannot use health check {name!r}: {why}"


# all of them


async def test_a_pool_gets_the_checks_it_asks_for() -> None:
    spec = pool(http="http://h/", tcp="h:1", exec=("true",), callback=True)
    probers = make_probers(spec, Relatives(), lambda _: True, worker_of=lambda ref: ref)
    assert [prober.check for prober in probers] == ["http", "tcp", "exec", "python"]
    assert make_probers(pool(), Relatives()) == ()


async def test_no_prober_raises_or_blames_the_worker_when_descriptors_run_out() -> None:
    import resource

    spec = pool(http="http://127.0.0.1:1/", tcp="127.0.0.1:1", exec=("true",))
    probers = make_probers(spec, Relatives())
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    taken = [os.open("/dev/null", os.O_RDONLY) for _ in range(highest + 1)]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(taken) + 1, limits[1]))
        verdicts = [await probe(prober) for prober in probers]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for fd in taken:
            os.close(fd)
    assert [verdict.passed for verdict in verdicts] == [None, None, None]
    assert all("oo many open files" in verdict.detail for verdict in verdicts)
