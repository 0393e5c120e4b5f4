"""What may be written, and what it becomes."""

from pathlib import Path

import pytest

from chaperone_async.core.spec import PoolSpec
from chaperone_async.system.config.load import Tls
from chaperone_async.system.config.units import Duration, Size
from tests.system.config.conftest import Load, Refuse

DOCUMENTED = """
name = "orders"

[http]
listen = ["127.0.0.1:9001", "unix:/run/chaperone/chaperone.sock"]
socket_mode = "0660"
token = "${CHAPERONE_TOKEN:-}"
tls = { cert = "server.crt", key = "server.key" }
users = { admin = "$scrypt$ln=14,r=8,p=1$c2FsdA$aGFzaGhhc2hoYXNoaGFzaA" }

[shutdown]
grace = "1m"

[logs]
format = "json"
level = "debug"

[pools.email-workers]
queue = ["high", "default"]
command = "python worker.py --queue={queue}"
workers = 5
min_ready = 2
essential = false
on_fatal = "exit"
env = { A = "1", B = 2 }
env_file = ".env"
directory = "."
user = "www-data"
group = ""
umask = "022"
nice = -5
rlimits = { nofile = 4096, core = "unlimited" }
callback_timeout = "3s"
crash_records = 7

[pools.email-workers.health]
interval = "2s"
timeout = "4s"
failure_threshold = 2
start_grace = 0
ready = "notify"
start_timeout = "2m"
memory_limit = "1GB"
heartbeat = "30s"
http = "http://127.0.0.1:80{slot}/health"
tcp = "127.0.0.1:12{slot}"
exec = ["./check", "{worker_id}"]
python = "myapp.checks:healthy"
stall = "0"

[pools.email-workers.restart]
policy = "on-failure"
success_codes = [0, 3]
start_seconds = 2
backoff = { initial = "0.25s", factor = 3, max = "20s", jitter = 0.2, reset_after = "30s" }
crash_loop = { count = 4, window = "4m", early = "20s", action = "fatal" }

[pools.email-workers.recycle]
max_time = "1h30m"
max_jobs = 1000
max_memory = "400MB"
jitter = 0.3

[pools.email-workers.stop]
signal = "QUIT"
timeout = "45s"
to = "group"

[pools.email-workers.pause]
mode = "freeze"

[pools.email-workers.logs]
mode = "file"
path = "/var/log/{pool}.log"
max_size = "10MiB"
backups = 3
keep = 50
"""


def only_pool(load: Load, lines: str, **env: str) -> PoolSpec:
    (pool,) = load(f'[pools.a]\ncommand = "true"\n{lines}', **env).pools
    return pool


def test_every_documented_key_reaches_the_configuration(loaded: Load) -> None:
    config = loaded(DOCUMENTED)
    assert (config.name, config.grace, config.token) == ("orders", 60.0, None)
    assert config.listen == ("127.0.0.1:9001", "unix:/run/chaperone/chaperone.sock")
    assert config.socket_mode == 0o660
    assert config.tls == Tls("server.crt", "server.key")
    assert config.users == (("admin", "$scrypt$ln=14,r=8,p=1$c2FsdA$aGFzaGhhc2hoYXNoaGFzaA"),)
    assert (config.log_format, config.log_level) == ("json", "debug")
    assert config.source == str(Path("chaperone.toml").absolute())


def test_every_documented_key_of_a_pool_differs_from_the_default_when_it_is_set(loaded: Load) -> None:
    (pool,) = loaded(DOCUMENTED).pools
    assert (pool.name, pool.queues, pool.workers, pool.min_ready) == ("email-workers", ("high", "default"), 5, 2)
    assert pool.command == ("python", "worker.py", "--queue={queue}")
    assert (pool.essential, pool.on_fatal, pool.pause, pool.crash_records) == (False, "exit", "freeze", 7)
    assert pool.callbacks.timeout == 3.0
    launch = pool.launch
    assert launch.env == (("A", "1"), ("B", "2"))
    assert (launch.env_file, launch.directory, launch.user, launch.group) == (".env", ".", "www-data", None)
    assert (launch.umask, launch.nice, launch.rlimits) == (0o22, -5, (("nofile", 4096), ("core", -1)))
    health = pool.health
    assert (health.interval, health.timeout, health.failure_threshold, health.start_grace) == (2.0, 4.0, 2, 0.0)
    assert (health.ready, health.start_timeout, health.memory_limit) == ("notify", 120.0, 10**9)
    assert (health.heartbeat, health.tcp, health.python) == (30.0, "127.0.0.1:12{slot}", "myapp.checks:healthy")
    assert (health.http, health.exec) == ("http://127.0.0.1:80{slot}/health", ("./check", "{worker_id}"))
    restart = pool.restart
    assert (restart.mode, restart.success_codes, restart.start_seconds) == ("on-failure", (0, 3), 2.0)
    backoff, loop = restart.backoff, restart.crash_loop
    assert (backoff.initial, backoff.factor, backoff.max, backoff.jitter) == (0.25, 3.0, 20.0, 0.2)
    assert (backoff.reset_after, loop.count, loop.window, loop.early, loop.action) == (30.0, 4, 240.0, 20.0, "fatal")
    recycle = pool.recycle
    assert (recycle.max_time, recycle.max_jobs, recycle.max_memory) == (5400.0, 1000, 400 * 10**6)
    assert (recycle.jitter, pool.stop.signal, pool.stop.timeout, pool.stop.to) == (0.3, "SIGQUIT", 45.0, "group")
    logs = pool.logs
    assert (logs.mode, logs.path, logs.max_size, logs.backups) == ("file", "/var/log/{pool}.log", 10 * 2**20, 3)
    assert logs.keep == 50


def test_what_is_not_written_has_the_defaults_of_the_spec(loaded: Load) -> None:
    assert only_pool(loaded, "") == PoolSpec(name="a", command=("true",))


def test_values_are_plain_built_ins(loaded: Load) -> None:
    (pool,) = loaded(DOCUMENTED).pools
    assert type(pool.health.interval) is float
    assert type(pool.health.memory_limit) is int
    assert type(pool.stop.signal) is str
    assert type(pool.command) is tuple
    assert type(pool.restart.success_codes[0]) is int
    assert type(pool.launch.env[0][0]) is str


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("500ms", 0.5), ("30s", 30), ("5m", 300), ("1h30m", 5400), ("2d", 172800), ("1h 5s", 3605), ("0", 0),
        (2.5, 2.5), (7, 7), ("7", 7), ("0.5s", 0.5),
    ],
)  # fmt: skip
def test_a_duration_is_read_in_seconds(written: object, seconds: float) -> None:
    assert Duration.parse(written) == seconds


@pytest.mark.parametrize(
    "written", [True, "", "5 parsecs", "s", "1e3", -1, "-5s", float("nan"), float("inf"), [], 10**400, "٣s"]
)
def test_what_is_no_duration_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match="write"):
        Duration.parse(written)


@pytest.mark.parametrize(
    ("written", "size"),
    [
        (512, 512 * 10**6), ("512", 512 * 10**6), ("512MB", 512 * 10**6), ("1.5GiB", 3 << 29), ("800KB", 800_000),
        ("1 kib", 1024), ("5B", 5), (0.5, 500_000), (0, 0),
    ],
)  # fmt: skip
def test_a_size_is_read_in_bytes(written: object, size: int) -> None:
    assert Size.parse(written) == size


@pytest.mark.parametrize(
    "written", [True, "", "512M", "MB", "1.2.3MB", "1iB", -5, "-5MB", float("nan"), float("inf"), 10**400]
)
def test_what_is_no_size_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match="write"):
        Size.parse(written)


def test_a_command_keeps_quoted_words_together_and_a_list_is_taken_as_it_is(loaded: Load) -> None:
    config = loaded("""
        [pools.a]
        command = "sh -c 'sleep 1'"
        [pools.b]
        command = ["sh", "-c", "echo 'x"]
    """)
    assert [pool.command for pool in config.pools] == [("sh", "-c", "sleep 1"), ("sh", "-c", "echo 'x")]


def test_a_pool_inherits_defaults_and_tables_merge_key_by_key(loaded: Load) -> None:
    config = loaded("""
        [defaults]
        workers = 3
        command = "default"
        env = { A = "1", B = "1" }
        restart.backoff.factor = 4
        [pools.a]
        env = { B = "2" }
        restart = { policy = "never", backoff = { max = 9 } }
        [pools.b]
        command = "own"
    """)
    a, b = config.pools
    assert (a.workers, a.command, dict(a.launch.env)) == (3, ("default",), {"A": "1", "B": "2"})
    assert (a.restart.mode, a.restart.backoff.factor, a.restart.backoff.max) == ("never", 4.0, 9.0)
    assert (b.command, b.restart.mode, b.restart.backoff.max) == (("own",), "always", 30.0)


def test_the_environment_expands_in_any_text_and_where_a_number_is_wanted(loaded: Load) -> None:
    pool = only_pool(
        loaded,
        """
        workers = "${N:-5}"
        min_ready = "${EMPTY:-2}"
        queue = "${QUEUE}"
        env = { HOME = "$HOME", PRICE = "$$5", SHELL = "$${X}" }
        essential = "${ESSENTIAL}"
        stop.timeout = "${SECONDS}s"
        """,
        QUEUE="emails",
        EMPTY="",
        ESSENTIAL="false",
        SECONDS="7",
    )
    assert (pool.workers, pool.min_ready, pool.queues, pool.essential) == (5, 2, ("emails",), False)
    assert dict(pool.launch.env) == {"HOME": "$HOME", "PRICE": "$5", "SHELL": "${X}"}
    assert pool.stop.timeout == 7.0


def test_the_environment_overrides_name_listeners_and_token(loaded: Load) -> None:
    config = loaded(
        'name = "file"\nhttp.listen = "127.0.0.1:1"\n[pools.a]\ncommand = "true"',
        CHAPERONE_NAME="env",
        CHAPERONE_HTTP_LISTEN="[::1]:9001, unix:/tmp/x.sock",
        CHAPERONE_TOKEN="t0ken",
    )
    assert (config.name, config.listen, config.token) == ("env", ("[::1]:9001", "unix:/tmp/x.sock"), "t0ken")
    assert "t0ken" not in repr(config)


def test_an_empty_variable_overrides_nothing(loaded: Load) -> None:
    config = loaded(
        'name = "file"\nhttp.token = "t"\n[pools.a]\ncommand = "true"', CHAPERONE_NAME="", CHAPERONE_TOKEN=""
    )
    assert (config.name, config.token) == ("file", "t")


def test_the_default_stop_timeout_is_no_longer_than_the_grace(loaded: Load) -> None:
    config = loaded('shutdown.grace = "10s"\n[pools.a]\ncommand = "true"')
    assert config.pools[0].stop.timeout == 10.0


@pytest.mark.parametrize("name", ["a.b", "A_b-9", "x" * 64])
def test_a_pool_may_have_any_name_of_plain_characters(loaded: Load, name: str) -> None:
    assert loaded(f'[pools."{name}"]\ncommand = "true"').pools[0].name == name


@pytest.mark.parametrize("name", ["all", "a:b", "", "x" * 65, "ä", "a b", "a/b"])
def test_a_pool_must_not_have_a_name_that_means_something_else(refused: Refuse, name: str) -> None:
    (problem,) = refused(f'[pools."{name}"]\ncommand = "true"')
    assert "cannot be a pool's name" in problem
