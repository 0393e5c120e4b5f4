"""What is refused, and in which words."""

from typing import Any

import pytest

from chaperone_async.system.config import words
from tests.system.config.conftest import Refuse

NO_LISTENER = 'is not an address; write "127.0.0.1:9001", "[::1]:9001" or "unix:/run/chaperone.sock"'
KEYS = "budget, defaults, failed_jobs, http, include, logs, name, pools, shutdown, watch"
POOL = '[pools.a]\ncommand = "true"\n'
WRONG = [
    ("workers = true", "workers: true is not a whole number"),
    ("workers = 2.5", "workers: 2.5 is not a whole number"),
    ("workers = -1", "workers: -1 is out of range"),
    ("workers = nan", "workers: nan is not a whole number"),
    ("workers = { min = 1 }", "workers: a table has to name both bounds, and nothing else"),
    ('queue = ["a", 5]', "queue: ['a', 5] does not name queues"),
    ("queue = []", "queue: [] does not name queues"),
    ('command = "echo \'x"', 'command: "echo \'x" cannot be split'),
    ("command = []", "command: [] names no program"),
    ('command = ""', "command: '' names no program"),
    ("command = 5", "command: 5 is not a command"),
    ("env = { DEBUG = true }", "env.DEBUG: true is neither text nor a number; quote it"),
    ('env = { "A=B" = "1" }', "env.\"A=B\": 'A=B' cannot be the name of a variable"),
    ("env = 5", "env: '***' is not a table; write [pools.a.env]"),
    ("umask = 22", "umask: 22 is not a umask; write it in octal and in quotes"),
    ('umask = "99"', "umask: '99' is not a umask"),
    ("nice = 20", "nice: 20 is out of range; write a whole number from -20 to 19"),
    ("rlimits = { nofiles = 1 }", "rlimits.nofiles: 'nofiles' is not a resource limit; did you mean 'nofile'?"),
    ('rlimits = { nofile = "lots" }', "rlimits.nofile: 'lots' is not a limit"),
    ('on_fatal = "quit"', "on_fatal: 'quit' is not known here; valid are exit, ignore, unready"),
    ("essential = 1", "essential: 1 is neither true nor false"),
    ("health = 5", "health: 5 is not a table; write [pools.a.health]"),
    ("health.timeout = 0", "health.timeout: 0 must be longer than 0"),
    ("health.interval = inf", "health.interval: inf is not a duration"),
    ('health.interval = "-5s"', "health.interval: '-5s' is not a duration"),
    ("health.interval = -5", "health.interval: -5 is negative"),
    ('health.stall = "long"', "health.stall: 'long' is not a duration"),
    ('health.http = "localhost/x"', "health.http: 'localhost/x' is not a URL"),
    ('health.tcp = "localhost"', "health.tcp: 'localhost' is not an address"),
    ('health.tcp = "localhost:99999"', "health.tcp: 'localhost:99999' is not an address"),
    ('health.python = "myapp.checks"', "health.python: 'myapp.checks' does not name a function"),
    ('health.ready = "told"', "health.ready: 'told' is not known here"),
    ("restart.success_codes = [0, 256]", "restart.success_codes[1]: 256 is out of range"),
    ('restart.policy = "on_failure"', "restart.policy: 'on_failure' is not known here; did you mean 'on-failure'?"),
    ("restart.crash_loop.count = 0", "restart.crash_loop.count: 0 is out of range"),
    ('stop.signal = "SIGTRM"', "stop.signal: 'SIGTRM' is not a signal; did you mean 'SIGTERM'?"),
    ("stop.signal = 15", "stop.signal: 15 is not a signal"),
    ("recycle.jitter = 2", "recycle.jitter: 2 is not a share"),
    ("health.heartbeat = 1e303", "health.heartbeat: 1e+303 is longer than 100 years"),
    ('recycle.max_memory = "1 lot"', "recycle.max_memory: '1 lot' is not a size"),
    ('backend = "no such"', "backend: 'no such' is not a backend's name"),
    ("autoscale.target = 0", "autoscale.target: 0 is not a target"),
    ("autoscale.max_step = 0", "autoscale.max_step: 0 is out of range"),
    ('backlog.combine = "min"', "backlog.combine: 'min' is not known here; valid are max, sum"),
    (
        'backlog.source = { redis_list = "redis://localhost/0" }',
        "backlog.source.redis_list: 'redis://localhost/0' is not",
    ),
    ('backlog.source = { sql = "localhost" }', "backlog.source.sql: 'localhost' is not a database URL"),
    ('backlog.source = { http = "http://a/", pointer = "a" }', "backlog.source.pointer: 'a' is not a JSON pointer"),
    ("user = 1979-05-27", "user: 1979-05-27 is not an account"),
    ("user = -1", "user: -1 is not an account"),
    ('user = "99999999999"', "user: '99999999999' is not an account"),
    ("group = 4294967295", "group: 4294967295 is not an account; write a name such as "),
    (f"crash_records = {'9' * 80}", "crash_records: a huge number is out of range"),
]
"""Lines in a pool's table, and what is told of them."""

WRONG_OUTSIDE = [
    ("budget.max_workers = 0", "budget.max_workers: 0 is out of range"),
    ('alerts = [{ on = ["pool.fatal"] }]', "alerts: is not supported by this version"),
    ('http.tls = { cert = "x" }', "http.tls: needs both"),
    ("http.socket_mode = 0o660", "http.socket_mode: 432 is not a file mode; write it in octal and in quotes"),
    ('http.socket_mode = "0888"', "http.socket_mode: '0888' is not a file mode"),
    ('http.listen = ["::1:9001"]', "http.listen[0]: '::1:9001' is not an address"),
    ('http.listen = ["127.0.0.1:65536"]', "http.listen[0]: '127.0.0.1:65536' is not an address"),
    (f'http.listen = ["unix:/{"x" * 107}"]', "http.listen[0]: 'unix:/xxx"),
    ('logs.level = "loud"', "logs.level: 'loud' is not known here"),
    ('shutdown.grace = "soon"', "shutdown.grace: 'soon' is not a duration"),
]  # fmt: skip
"""Lines before all tables."""


SCALING = {
    "workers = { min = 2, max = 1 }\n": "workers: a table has no room between its bounds; write { min = 1, max = 10 }",
    "workers = { min = 1, max = 3 }\n": "workers: { min, max } is for [autoscale], which this pool has not",
    "autoscale.target = 5\n" + (source := 'backlog.source = { redis_list = "redis://a/0#q" }\n'):
        "workers: are to be scaled, between which bounds?",
    "workers = { min = 1, max = 3 }\nautoscale.target = 5\n": "autoscale.source: needs to know the backlog",
    'workers = { min = 1, max = 3 }\nautoscale.python = "app:workers"\n':
        "autoscale.source: needs to know the backlog",
    'health.stall = "5m"\n': "health.stall: needs to know the backlog, and nobody tells",
    f'autoscale.strategy = "python"\nworkers = {{ min = 1, max = 3 }}\n{source}':
        'autoscale.strategy: strategy "python" and the function go together',
    'backlog.source = { http = "http://a/", redis_list = "redis://a/0#q" }\n':
        "backlog.source: has to be of one kind, and names redis_list and http",
    'backlog.source = { sql = "sqlite:///a" }\n': "backlog.source: sql needs a query, too",
    f'autoscale.source = {{ http = "http://a/" }}\nworkers = {{ min = 1, max = 3 }}\n{source}':
        "autoscale.source: is the same as backlog.source",
    'backlog.source = { redis_list = "redis://a/0#q", query = "x" }\n':
        "backlog.source: query does not belong to redis_list; remove it",
    'backend = "cellery"\n': "backend: 'cellery' is not a backend; did you mean 'celery'?",
}  # fmt: skip


@pytest.mark.parametrize("kind", [words.Queues, words.InstanceName])
def test_a_name_that_every_answer_has_is_utf_8(kind: Any) -> None:
    assert kind.parse("café")
    with pytest.raises(ValueError, match="write"):
        kind.parse("caf\udce9")


@pytest.mark.parametrize("lines", SCALING)
def test_what_does_not_go_together_about_queues_is_told(lines: str, refused: Refuse) -> None:
    problems = refused(POOL + lines)
    assert problems[0].startswith(f"chaperone.toml: pools.a.{SCALING[lines]}")


def test_a_budget_must_hold_the_least_of_all_that_share_it(refused: Refuse) -> None:
    pool = 'workers = { min = 3, max = 9 }\ncommand = "w"\nautoscale.source = { http = "http://a/" }\n'
    (problem,) = refused(f"[budget]\nmax_workers = 5\n[pools.a]\n{pool}[pools.b]\n{pool}")
    assert "5 is less than the least of all autoscaled pools together, 6" in problem
    (problem,) = refused(f"[budget]\nmax_workers = 5\n{POOL}")
    assert "is for autoscaled pools, and there are none" in problem


def test_all_that_is_wrong_is_told_at_once_in_the_order_of_the_file(refused: Refuse) -> None:
    problems = refused("""
        grace = 5
        [http]
        listen = "nowhere"
        [pools.email]
        workers = "five"
        health.intervall = 1
        [pools.other]
        command = "true"
        min_ready = 2
    """)
    assert problems == [
        f"chaperone.toml: grace: unknown key; valid are {KEYS}",
        "chaperone.toml: http.listen: 'nowhere' " + NO_LISTENER,
        "chaperone.toml: pools.email.workers: 'five' is not a whole number; write a count such as 5",
        "chaperone.toml: pools.email.health.intervall: unknown key; did you mean 'interval'?",
        'chaperone.toml: pools.email.command: is missing; add one such as command = "python worker.py"',
        "chaperone.toml: pools.other.min_ready: 2 is more than workers, 1; write at most that",
    ]


@pytest.mark.parametrize(("line", "problem"), WRONG)
def test_a_wrong_value_is_told_with_its_key_and_what_would_be_right(refused: Refuse, line: str, problem: str) -> None:
    text = f"[pools.a]\n{line}" if line.startswith("command") else f"{POOL}{line}"
    (told,) = refused(text)
    assert told.startswith(f"chaperone.toml: pools.a.{problem}")


@pytest.mark.parametrize(("line", "problem"), WRONG_OUTSIDE)
def test_a_wrong_value_outside_the_pools_is_told_too(refused: Refuse, line: str, problem: str) -> None:
    (told,) = refused(f"{line}\n{POOL}stop.timeout = 40" if "soon" in line else f"{line}\n{POOL}")
    assert told.startswith(f"chaperone.toml: {problem}")


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ("stop.timeout = 31", "stop.timeout: 31 s is longer than all of shutdown.grace, 30 s"),
        ("workers = 2\nmin_ready = 3", "min_ready: 3 is more than workers, 2"),
        ("health = { heartbeat = 1, interval = 2 }", "health.heartbeat: 1 s is shorter than health.interval, 2 s"),
        ('health.start_timeout = "0.5s"', "health.start_timeout: 0.5 s is shorter than restart.start_seconds, 1 s"),
        ("restart.backoff = { initial = 5, max = 1 }", "restart.backoff.initial: 5 s is longer than"),
        ("restart.start_seconds = 40", "restart.crash_loop.early: 30 s is shorter than restart.start_seconds, 40 s"),
        ("recycle.max_memory = 512", "recycle.max_memory: 512 MB is not under health.memory_limit, 512 MB"),
        (
            'workers = 200\nhealth.http = "http://127.0.0.1:80{slot}0/x"',
            "health.http: 'http://127.0.0.1:801990/x' is no web address: port out of range 0-65535",
        ),
        ('health.http = "http://a:b@c/"', "health.http: the address carries credentials; leave them out"),
        ('health.tcp = "a..b:80"', "health.tcp: 'a..b:80' is no address: 'a..b' cannot be a host's name"),
        (
            'workers = { min = 1, max = 2 }\nautoscale.source.command = "depth"\nrestart.policy = "on-failure"',
            'restart.policy: "on-failure" may leave a slot empty for good, and the scaler counts on it; write "always"',
        ),
        ("recycle.jitter = 1", "recycle.jitter: 1 could lower a limit to nothing"),
        ('logs.mode = "file"', 'logs.path: is missing, and logs.mode = "file" needs it'),
    ],
)
def test_a_contradiction_is_refused_where_it_was_written(refused: Refuse, lines: str, problem: str) -> None:
    (told,) = refused(POOL + lines)
    assert told.startswith(f"chaperone.toml: pools.a.{problem}")


def test_a_contradiction_that_comes_from_the_defaults_is_told_once_and_there(refused: Refuse) -> None:
    (problem,) = refused('[defaults]\nstop.timeout = "1m"\n[pools.a]\ncommand = "x"\n[pools.b]\ncommand = "x"\n')
    assert problem.startswith("chaperone.toml: defaults.stop.timeout: 60 s is longer")


def test_a_limit_of_zero_is_none_and_contradicts_nothing(refused: Refuse) -> None:
    (problem,) = refused(f"{POOL}health.memory_limit = 0\nrecycle.max_memory = 900\nqueue = 5")
    assert "pools.a.queue" in problem


@pytest.mark.parametrize("text", ["", "[pools]", "[defaults]\nworkers = 2"])
def test_a_configuration_without_pools_is_refused(refused: Refuse, text: str) -> None:
    (problem,) = refused(text)
    assert problem.startswith("chaperone.toml: pools: there are none; add a table such as [pools.emails]")


def test_a_variable_that_is_not_set_is_named_with_the_key(refused: Refuse) -> None:
    (problem,) = refused('[pools.a]\ncommand = "run ${PROGRAM}"')
    why = "needs $PROGRAM, which is not set; set it, or write ${PROGRAM:-default}"
    assert problem == f"chaperone.toml: pools.a.command: 'run ${{PROGRAM}}' {why}"


@pytest.mark.parametrize("text", ["${1}", "${A", "${A:=x}", "${A:-${B}}"])
def test_a_broken_reference_is_refused(refused: Refuse, text: str) -> None:
    (problem,) = refused(f'[pools.a]\ncommand = "{text}"', A="a")
    assert "has a broken reference; write ${NAME}, ${NAME:-default}, or $$" in problem


def test_secrets_are_not_shown(refused: Refuse) -> None:
    problems = refused(
        """
        http.token = "tok en"
        http.users = { admin = "plaintext" }
        [pools.a]
        command = "true"
        workers = "${DB_PASSWORD}"
        env = { API_TOKEN = ["s3cret"], OTHER = ["seen"] }
        health.http = "ftp://me:s3cret@host/"
        """,
        DB_PASSWORD="hunter2",
    )
    told = "\n".join(problems)
    assert len(problems) == 6
    assert "seen" in told
    assert "ftp://***@host/" in told
    for secret in ("tok en", "plaintext", "hunter2", "s3cret"):
        assert secret not in told


def test_a_wrong_override_is_told_as_the_environments(refused: Refuse) -> None:
    (problem,) = refused(POOL, CHAPERONE_HTTP_LISTEN="here")
    assert problem.startswith("environment: http.listen[0]: 'here' is not an address")


def test_keys_nested_without_end_are_refused(refused: Refuse) -> None:
    problems = refused(POOL + ".".join("x" * 3000) + " = 1")
    assert "chaperone.toml: pools.a.x: is nested too deeply; no key is that deep" in problems
