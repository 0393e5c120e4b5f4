"""Backlogs read where a `source` says, on real servers; and what is said where none can be read."""

import http.server
import json
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pika
import psycopg
import pytest
from redis import Redis

from chaperone_async.attendant.sources_http import Site
from tests.backends.asked import Attendant, attending
from tests.backends.keeper import free_port
from tests.backends.outages import Line
from tests.e2e.service import alive, until

FUNCTIONS = """
import asyncio, threading

open_loops = set()

def number():
    return 7

async def figures():
    open_loops.add(id(asyncio.get_running_loop()))
    await asyncio.sleep(0)
    return {"ready": len(open_loops), "oldest_age": 2.5, "failed": None}

def hang():
    threading.Event().wait()

async def hang_politely():
    await asyncio.sleep(1000)

def fail():
    raise RuntimeError("no such tenant")

def strange():
    return {"waiting": 5}

def workers(sample):
    return sample.backlog / 4

def nothing(sample):
    return None

def nonsense(sample):
    return float("nan")
"""


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attendant]:
    directory = tmp_path_factory.mktemp("application")
    (directory / "app.py").write_text(FUNCTIONS)
    with attending(directory) as attendant:
        yield attendant


@pytest.fixture
def redis(redis_url: str) -> Iterator[Any]:
    with Redis.from_url(redis_url) as client:
        yield client


# Redis


def test_a_list_tells_its_length_and_a_missing_one_is_empty(asked: Attendant, redis_url: str, redis: Any) -> None:
    redis.rpush("emails", *range(3))
    assert asked.backlog("redis_list", f"{redis_url}#emails") == {"ready": 3}
    assert asked.backlog("redis_list", f"{redis_url}#none") == {"ready": 0}


def test_a_stream_tells_what_its_group_was_not_given_and_not_how_long_it_is(
    asked: Attendant, redis_url: str, redis: Any
) -> None:
    redis.xgroup_create("jobs", "workers", mkstream=True)
    for number in range(5):
        redis.xadd("jobs", {"number": number})
    redis.xreadgroup("workers", "one", {"jobs": ">"}, count=2)
    told = asked.backlog("redis_stream", f"{redis_url}#jobs", group="workers")
    assert (told["ready"], told["reserved"]) == (3, 2)
    assert 0 <= told["oldest_age"] < 60
    ((_, entries),) = redis.xreadgroup("workers", "one", {"jobs": ">"})
    redis.xack("jobs", "workers", *(entry for entry, _ in entries))
    told = asked.backlog("redis_stream", f"{redis_url}#jobs", group="workers")
    assert (told["ready"], told["reserved"], redis.xlen("jobs")) == (0, 2, 5)
    why = asked.refusal("redis_stream", f"{redis_url}#jobs", group="nobody")
    assert why == "the stream jobs has no group 'nobody'; it has workers"


def test_a_sorted_set_tells_what_is_due_and_when_the_next_is(asked: Attendant, redis_url: str, redis: Any) -> None:
    now = time.time()
    redis.zadd("later", {"a": now - 100, "b": now - 1, "c": now + 1000, "d": now + 2000})
    told = asked.backlog("redis_sorted_set", f"{redis_url}#later")
    assert (told["ready"], told["delayed"]) == (2, 2)
    assert 100 <= told["oldest_age"] < 160
    assert 940 < told["next_due"] <= 1000


def test_a_key_of_another_type_is_unknown_and_not_empty(asked: Attendant, redis_url: str, redis: Any) -> None:
    redis.zadd("emails", {"a": 1})
    why = asked.refusal("redis_list", f"{redis_url}#emails")
    assert why == "emails is of another type, a zset; name the kind of source that fits"
    assert "of another type, a zset" in asked.refusal("redis_stream", f"{redis_url}#emails", group="g")


def test_a_wrong_password_is_told_without_it(asked: Attendant, redis_url: str, redis: Any) -> None:
    redis.acl_setuser("jobs", enabled=True, passwords=["+right"], commands=["+llen", "+select"], keys=["*"])
    try:
        address = redis_url.replace("redis://", "redis://jobs:wr%6Fng-one@")
        why = asked.refusal("redis_list", f"{address}#emails")
        assert "password" in why
        assert "wr" not in why.replace("wrong number", "").replace("password", "")
        assert asked.backlog("redis_list", f"{address.replace('wr%6Fng-one', 'right')}#emails") == {"ready": 0}
    finally:
        redis.acl_deluser("jobs")


def test_a_server_that_is_down_answers_again_when_it_is_up(asked: Attendant) -> None:
    port = free_port()
    why = asked.refusal("redis_list", f"redis://:secret@127.0.0.1:{port}/0#emails")
    assert why == f"Error 111 connecting to 127.0.0.1:{port}. Connection refused."
    with serving(b":5\r\n", port):
        assert asked.backlog("redis_list", f"redis://127.0.0.1:{port}/0#emails")["ready"] == 5
    assert "refused" in asked.refusal("redis_list", f"redis://127.0.0.1:{port}/0#emails")
    with serving(b":6\r\n", port):
        assert asked.backlog("redis_list", f"redis://127.0.0.1:{port}/0#emails")["ready"] == 6


@contextmanager
def serving(answer: bytes | None, port: int = 0) -> Iterator[int]:
    """A server that says the same to all; None: it takes connections, and never says anything."""

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connections.append(connection)
            threading.Thread(target=reply, args=(connection,), daemon=True).start()

    def reply(connection: socket.socket) -> None:
        try:
            while connection.recv(65536):
                if answer is not None:
                    connection.sendall(answer)
        except OSError:
            return

    connections: list[socket.socket] = []
    listener = socket.create_server(("127.0.0.1", port))
    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()
        for connection in connections:
            connection.close()


# Whatever hangs, together: each keeps only its own reading waiting


def test_servers_that_never_answer_hold_up_nobody_for_longer_than_a_reading_may_take(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(FUNCTIONS)
    with serving(None) as port, attending(tmp_path) as asked:
        here = f"127.0.0.1:{port}"
        questions: list[dict[str, Any]] = [
            {"kind": "redis_list", "address": f"redis://{here}/0#emails"},
            {"kind": "rabbitmq", "address": f"amqp://guest:guest@{here}/%2F#emails"},
            {"kind": "sql", "address": f"postgresql://app:hidden@{here}/app", "query": "select 1"},
            {"kind": "sql", "address": f"mysql://app:hidden@{here}/app", "query": "select 1"},
            {"kind": "http", "address": f"http://{here}/queues.json"},
            {"kind": "command", "address": "", "argv": ["sh", "-c", "sleep 1000 & echo 5; sleep 1000"]},
            {"kind": "python", "address": "app:hang"},
            {"kind": "python", "address": "app:hang_politely"},
        ]
        began = time.monotonic()
        answers = asked.ask([{**question, "timeout": 2.5} for question in questions])
        assert time.monotonic() - began < 15
        said = [answer["error"] for answer in answers]
        assert all(answer["unavailable"] for answer in answers), answers
        assert "hidden" not in str(said)
        assert said[0].startswith("Timeout reading from")
        assert said[5:] == [
            "sh has not ended within 2 s",
            "app:hang has not returned within 2 s",
            "app:hang_politely has not returned within 2 s",
        ]
        assert asked.backlog("python", "app:number") == {"ready": 7}


# RabbitMQ


def test_a_rabbitmq_queue_tells_its_ready_messages(asked: Attendant, rabbitmq_url: str) -> None:
    with pika.BlockingConnection(pika.URLParameters(rabbitmq_url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare("emails", durable=True)
        for _ in range(3):
            channel.basic_publish("", "emails", b"{}")
        assert asked.backlog("rabbitmq", f"{rabbitmq_url}#emails") == {"ready": 3}
        channel.basic_get("emails")
        assert asked.backlog("rabbitmq", f"{rabbitmq_url}#emails") == {"ready": 2}
    missing = asked.refusal("rabbitmq", f"{rabbitmq_url}#none")
    assert missing.startswith("NOT_FOUND - no queue 'none' in vhost")
    assert asked.refusal("rabbitmq", f"{rabbitmq_url}#none") == missing
    wrong = asked.refusal("rabbitmq", rabbitmq_url.replace("guest:guest", "guest:hidden") + "#emails")
    assert "ACCESS_REFUSED" in wrong
    assert "hidden" not in wrong


def test_a_line_to_rabbitmq_that_goes_dead_is_given_up(asked: Attendant, rabbitmq_url: str) -> None:
    address = urlsplit(rabbitmq_url)
    with Line(address.port or 5672) as line, pika.BlockingConnection(pika.URLParameters(rabbitmq_url)) as connection:
        connection.channel().queue_declare("emails", durable=True)
        through = address._replace(netloc=f"guest:guest@127.0.0.1:{line.port}", fragment="emails").geturl()
        before = asked.backlog("rabbitmq", through)
        line.cut()
        assert asked.refusal("rabbitmq", through) == f"127.0.0.1:{line.port}: no answer in time"
        assert asked.backlog("rabbitmq", through) == before


# SQL


def test_postgresql_tells_a_number_or_columns_and_is_never_written_to(asked: Attendant, postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as database:
        database.execute("create table job (id int, done bool, at timestamptz default now() - interval '90 s')")
        database.execute("insert into job select n, n > 4 from generate_series(1, 6) n")

        def ask(query: str) -> Any:
            return asked.backlog("sql", postgres_url, query=query)

        def refusal(query: str) -> str:
            return asked.refusal("sql", postgres_url, query=query)

        assert ask("select count(*) from job where not done") == {"ready": 4}
        assert ask("select 0.4::numeric") == {"ready": 1}
        told = ask("select count(*) ready, 2 reserved, null failed, now() - min(at) oldest_age from job;")
        assert 90 <= told.pop("oldest_age") < 150
        assert told == {"ready": 6, "reserved": 2, "failed": None}
        assert refusal("select id from job where false") == "the query gives no row; one is wanted"
        assert refusal("select 'many'") == "'many' is not a number of jobs; 0 or more is wanted"
        assert refusal("select null") == "None is not a number of jobs; 0 or more is wanted"
        assert refusal("select 'NaN'::float") == "nan is not a number of jobs; 0 or more is wanted"
        assert refusal("select -1") == "-1 is not a number of jobs; 0 or more is wanted"
        assert refusal("select 1 ready, 2 waiting").startswith("'waiting' is not a figure of a backlog; valid are")
        assert refusal("select count(*) from jobs") == 'relation "jobs" does not exist'
        assert refusal("delete from job").startswith("syntax error")
        assert refusal("select 1; delete from job") == "cannot insert multiple commands into a prepared statement"
        assert refusal("with gone as (delete from job returning id) select count(*) from gone").startswith("DECLARE")
        database.execute("create function erase() returns int language sql as 'delete from job; select 1'")
        assert refusal("select erase()") == "cannot execute DELETE in a read-only transaction"

        def ended_by_itself() -> bool:
            """Who is late with that is cut off soon after."""
            late = asked.refusal("sql", postgres_url, query="select pg_sleep(100)", timeout=1.25)
            assert late in {"canceling statement due to statement timeout", "no answer within 1.15 s"}
            return late.startswith("canceling")

        until(ended_by_itself)
        rows = refusal("select generate_series(1, 1000000000)")
        assert rows == "the query gives more than one row; one is wanted"
        assert database.execute("select count(*) from job").fetchone() == (6,)
        database.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where application_name like 'chap%' and datname = current_database()"
        )
        assert ask("select count(*) from job") == {"ready": 6}


def test_a_wrong_password_of_a_database_is_in_no_message(asked: Attendant, postgres_url: str) -> None:
    address = postgres_url.replace("postgres@", "postgres:hidden@").replace("127.0.0.1", "127.0.0.1.invalid")
    assert "hidden" not in asked.refusal("sql", address, query="select 1")
    assert "hidden" not in asked.refusal("sql", "postgresql://app:hidden@[::1/app", query="select 1")


def test_sqlite_is_opened_for_reading_alone_and_a_million_rows_are_not_read(asked: Attendant, tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    address = f"sqlite:///{path}"
    assert asked.refusal("sql", address, query="select 1") == "unable to open database file"
    with sqlite3.connect(path) as database:
        database.execute("create table job (id integer)")
        database.executemany("insert into job values (?)", [(number,) for number in range(3)])
    database.close()
    assert asked.backlog("sql", address, query="select count(*) from job") == {"ready": 3}
    assert asked.backlog("sql", address, query="select 4 as ready, 5 as delayed") == {"ready": 4, "delayed": 5}
    assert asked.refusal("sql", address, query="delete from job") == "attempt to write a readonly database"
    many = "with recursive n(i) as (select 1 union all select i + 1 from n) select i from n"
    assert asked.refusal("sql", address, query=many) == "the query gives more than one row; one is wanted"
    sorted_first = f"{many} order by i"
    assert asked.refusal("sql", address, query=sorted_first, timeout=1.25) == "no answer within 1 s"


# HTTP


class Pages(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    pages: dict[str, bytes]
    connections: set[int]
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.connections.add(self.client_address[1])
        body = self.pages.get(self.path, b"")
        self.send_response(200 if self.path in self.pages else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code: object = "-", size: object = "-") -> None:
        """Not on the tests' stderr."""


@pytest.fixture
def web() -> Iterator[Callable[[dict[str, bytes]], str]]:
    Pages.pages, Pages.connections, Pages.asked = {}, set(), []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()

    def serve(pages: dict[str, bytes]) -> str:
        Pages.pages = pages
        return f"http://127.0.0.1:{server.server_port}"

    yield serve
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_second_reading_asks_once_over_the_same_connection(asked: Attendant, web: Callable[..., str]) -> None:
    base = web({"/depth": b"3"})
    assert [asked.backlog("http", f"{base}/depth") for _ in range(3)] == [{"ready": 3}] * 3
    assert (len(Pages.asked), len(Pages.connections)) == (3, 1)


def test_a_host_of_ipv6_has_the_port_of_its_scheme() -> None:
    ports = {scheme: Site(f"{scheme}://[::1]/q", 1)._connect().port for scheme in ("http", "https")}
    assert ports == {"http": 80, "https": 443}


def test_a_json_document_tells_a_number_by_its_pointer(asked: Attendant, web: Callable[..., str]) -> None:
    document = {"queues": [{"na/me~": 7}, {"depth": "12"}], "all": {"ready": 2, "reserved": 1}, "text": "many"}
    base = web(
        {
            "/q?token=hidden": json.dumps(document).encode(),
            "/plain": b"41.2",
            "/nan": b"NaN",
            "/html": b"<html>",
            "/deep": b"[" * 100_000,
            "/huge": b" " * (1 << 20) + b"1",
        }
    )
    address = f"{base}/q?token=hidden"
    assert asked.backlog("http", address, pointer="/queues/0/na~1me~0") == {"ready": 7}
    assert asked.backlog("http", address, pointer="/queues/1/depth") == {"ready": 12}
    assert asked.backlog("http", address, pointer="/all") == {"ready": 2, "reserved": 1}
    assert len(Pages.connections) == 3, "one for each source: they are kept"
    assert asked.backlog("http", f"{base}/plain") == {"ready": 42}
    assert asked.refusal("http", address, pointer="/queues/2") == "there is no /queues/2 in what it answers"
    assert asked.refusal("http", address, pointer="/text/x") == "there is no /text/x in what it answers"
    assert asked.refusal("http", address, pointer="/text") == "'many' is not a number of jobs; 0 or more is wanted"
    assert asked.refusal("http", f"{base}/nan") == "nan is not a number of jobs; 0 or more is wanted"
    assert asked.refusal("http", f"{base}/html") == "what it answers is not JSON: b'<html>'"
    assert asked.refusal("http", f"{base}/deep").startswith("what it answers is not JSON")
    assert asked.refusal("http", f"{base}/huge") == "what it answers is longer than 1 MB"
    assert asked.refusal("http", f"{base}/none") == "it answers 404 Not Found"


def test_a_prometheus_query_tells_one_value_and_nothing_is_not_zero(asked: Attendant, web: Callable[..., str]) -> None:
    def answer(result: object, kind: str = "vector") -> bytes:
        return json.dumps({"status": "success", "data": {"resultType": kind, "result": result}}).encode()

    one = {"metric": {}, "value": [1.5, "42"]}
    base = web(
        {
            "/api/v1/query?query=sum%28jobs%7Bqueue%3D%22a%22%7D%29": answer([one]),
            "/api/v1/query?query=scalar": answer([1.5, "3"], "scalar"),
            "/api/v1/query?query=none": answer([]),
            "/api/v1/query?query=two": answer([one, one]),
            "/api/v1/query?query=nan": answer([{"metric": {}, "value": [1.5, "NaN"]}]),
            "/api/v1/query?query=bad": b'{"status": "error", "errorType": "bad_data", "error": "parse error"}',
            "/api/v1/query?query=other": b'{"status": "success"}',
        }
    )
    assert asked.backlog("prometheus", base, query='sum(jobs{queue="a"})') == {"ready": 42}
    assert asked.backlog("prometheus", f"{base}/", query="scalar") == {"ready": 3}
    assert asked.refusal("prometheus", base, query="none") == "the query gives nothing: no series fits it"
    assert asked.refusal("prometheus", base, query="two") == "the query gives 2 series; one is wanted, as of sum(…)"
    assert asked.refusal("prometheus", base, query="nan").startswith("'NaN' is not a number of jobs")
    assert asked.refusal("prometheus", base, query="bad") == "parse error"
    assert asked.refusal("prometheus", base, query="other") == "what it answers is no result of an instant query"


# Programs and functions


def test_the_first_word_that_a_program_prints_is_the_number(asked: Attendant) -> None:
    def run(*argv: str) -> Any:
        (answer,) = asked.ask([{"kind": "command", "address": "", "argv": argv, "timeout": 50}])
        return answer.get("value") or answer["error"]

    assert run("echo", "12 jobs") == {"ready": 12}
    assert run("sh", "-c", "read line || echo 3") == {"ready": 3}, "there is nothing for it to read"
    assert run("sh", "-c", "echo 1; echo cannot >&2; exit 3") == "sh has ended with exit code 3: cannot"
    assert run("sh", "-c", "kill -9 $$") == "sh was killed by signal 9"
    assert run("true") == "true has printed nothing; a number is wanted"
    assert run("echo", "many") == "'many' is not a number of jobs; 0 or more is wanted"
    assert run("yes") == "yes prints more than 64 KB"
    assert run("./nowhere") == "cannot run ./nowhere: No such file or directory"


def test_a_program_that_hangs_is_ended_with_all_that_it_has_started(tmp_path: Path) -> None:
    with attending(tmp_path) as asked:
        asked.timeout = 2.5
        child = tmp_path / "child"

        def hangs() -> bool:
            """It may be ended before it has started any."""
            why = asked.refusal("command", "", argv=["sh", "-c", "echo $$ > pid; sleep 1000 & echo $! > child; wait"])
            assert why == "sh has not ended within 2 s"
            return child.exists() and child.read_text().endswith("\n")

        until(hangs)
        for name in ("pid", "child"):
            pid = int((tmp_path / name).read_text())
            until(lambda pid=pid: not alive(pid))  # type: ignore[misc]  # a value of the loop


def test_a_function_of_either_colour_tells_a_number_or_figures(asked: Attendant) -> None:
    assert asked.backlog("python", "app:number") == {"ready": 7}
    for _ in range(2):
        assert asked.backlog("python", "app:figures") == {"ready": 1, "oldest_age": 2.5, "failed": None}
    assert asked.refusal("python", "app:fail") == "app:fail raised RuntimeError: no such tenant"
    assert asked.refusal("python", "app:strange").startswith("'waiting' is not a figure of a backlog; valid are ready")
    assert asked.refusal("python", "app:none") == "there is no function 'none' in app"
    assert asked.refusal("python", "nowhere:none").startswith("importing nowhere raised ModuleNotFoundError")


def test_a_function_that_hangs_again_and_again_is_not_called_any_more(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(FUNCTIONS)
    with attending(tmp_path) as asked:
        asked.timeout = 0.125
        for _ in range(8):
            assert asked.refusal("python", "app:hang") == "app:hang has not returned within 0.1 s"
        assert asked.refusal("python", "app:hang") == "app:hang hangs: its last 8 calls have not returned"


def test_a_function_says_how_many_workers_it_calls_for(asked: Attendant) -> None:
    sample = {"backlog": 10, "oldest_age": None, "busy": 1}
    assert asked.call_for("app:workers", **sample) == 2.5
    assert asked.call_for("app:nothing", **sample) is None
    with pytest.raises(Exception, match="it has returned nan, which is not a number of workers"):
        asked.call_for("app:nonsense", **sample)
    with pytest.raises(Exception, match="app:workers raised TypeError"):
        asked.call_for("app:workers", backlog=None)


@pytest.mark.parametrize(
    ("module", "kind", "address", "package"),
    [
        ("redis", "redis_list", "redis://127.0.0.1/0#a", "chaperone-async[redis]"),
        ("pika", "rabbitmq", "amqp://127.0.0.1/#a", "chaperone-async[rabbitmq]"),
        ("psycopg", "sql", "postgresql://127.0.0.1/a", "chaperone-async[postgres]"),
        ("pymysql", "sql", "mysql://127.0.0.1/a", "chaperone-async[mysql]"),
    ],
)
def test_a_missing_client_is_told_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch, module: str, kind: str, address: str, package: str
) -> None:
    from chaperone_async.attendant import Unavailable, sources

    monkeypatch.setitem(__import__("sys").modules, module, None)
    source = sources.attend({"kind": kind, "address": address, "query": "select 1"})
    assert isinstance(source, sources.Source)
    with pytest.raises(Unavailable) as told:
        source.backlog([])
    assert str(told.value) == f'needs the package {module}; pip install "{package}"'
