"""What is refused of a pool with a backend, or with a source of its backlog."""

import sys
from dataclasses import replace

import pytest

from tests.system.config.conftest import Load, Refuse

RQ = 'backend = "rq"\n'
LARAVEL = 'backend = "laravel"\nlaravel.artisan = "/app/artisan"\n'
COMMAND = 'command = "true"\n'
WRONG = [
    ('backend = "celry"', "backend: 'celry' is not a backend; did you mean 'celery'?"),
    ('backend = "kafka"', "backend: 'kafka' is not a backend; valid are arq, celery, command, dramatiq, huey,"),
    (RQ + COMMAND, "command: goes without backend = 'rq', which makes its own; remove one of them"),
    (RQ + 'rq.ulr = "redis://h"', "rq.ulr: unknown key; did you mean 'url'?"),
    (RQ + 'celery.app = "x"', "celery: is for a pool with backend = 'celery', and this one has backend = 'rq'; write"),
    (
        COMMAND + 'backend = "command"\npython = "/app/bin/python"',
        "python: is for a pool with a backend, and this one has a command; remove it",
    ),
    (COMMAND + 'celery.app = "x"', "celery: is for a pool with backend = 'celery', and this one has none; write that"),
    (RQ + "job.tries = 3", "job.tries: cannot be honoured: RQ is told of it with each job; remove it, and write"),
    (
        RQ + 'rq.options = ["--url=redis://:hunter2@db/0"]',
        "rq.options: cannot have '--url=redis://***@db/0': write rq.url instead",
    ),
    (LARAVEL + "job.max_exceptions = 3", "job.max_exceptions: cannot be honoured: Laravel is told of it by the job's"),
    ('backend = "laravel"', "laravel.artisan: is missing; write one such as"),
    (
        RQ + "job.tries = 3\nautoscale = {}\nworkers = { min = 1, max = 2 }",
        "job.tries: cannot be honoured: RQ is told of it",
    ),
    (
        COMMAND + 'backlog.source = { redis_list = "redis://h/0#a", sql = "sqlite:///a" }',
        "backlog.source: has to be of one kind, and names redis_list and sql; valid are redis_list,",
    ),
    (COMMAND + "backlog.source = {}", "backlog.source: has to be of one kind, and names none; valid are redis_list,"),
    (
        COMMAND + 'backlog.source = { redis_stream = "redis://h/0#a" }',
        "backlog.source: redis_stream needs a group, too; write",
    ),
    (
        COMMAND + 'backlog.source = { http = "http://h/", query = "up" }',
        "backlog.source: query does not belong to http; remove it",
    ),
    (
        COMMAND + 'backlog.source = { redis_list = "redis://h/0" }',
        "backlog.source.redis_list: 'redis://h/0' is not a URL with a key; write one such as",
    ),
    (
        COMMAND + 'backlog.source = { redis_list = "amqp://h/#a" }',
        "backlog.source.redis_list: 'amqp://h/#a' is not a URL with a key; write one such as",
    ),
    (
        COMMAND + 'backlog.source = { rabbitmq = "redis://h/0#a" }',
        "backlog.source.rabbitmq: 'redis://h/0#a' is not a URL with a queue; write one such as",
    ),
    (
        COMMAND + 'queue = ["high", "low"]\nbacklog.source = { redis_list = "redis://h/0#{queue}" }',
        "backlog.source: redis_list reads one queue, and {queue} stands for 2; write a source for each, by its name",
    ),
    (
        COMMAND + "autoscale = {}\nworkers = { min = 1, max = 2 }",
        "autoscale.source: needs to know the backlog, and nobody tells; name a source",
    ),
]


@pytest.mark.parametrize(("lines", "problem"), WRONG)
def test_what_a_backend_or_a_source_cannot_be_is_told_once_with_what_would_be_right(
    refused: Refuse, lines: str, problem: str
) -> None:
    (told,) = refused(f"[pools.a]\n{lines}")
    assert told.startswith(f"chaperone.toml: pools.a.{problem}")


def test_a_missing_package_is_told_with_the_extra_that_brings_it(
    refused: Refuse, loaded: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rq", None)
    (told,) = refused(f"[pools.a]\n{RQ}")
    package = f"'rq' needs the package rq, which is not installed with {sys.executable}"
    assert told.startswith(f'chaperone.toml: pools.a.backend: {package}; pip install "chaperone-async[rq]", or name')
    assert loaded(f'[pools.a]\n{RQ}python = "/app/bin/python"').pools[0].backend is not None


def test_tables_of_several_backends_may_stand_in_the_defaults(loaded: Load) -> None:
    config = loaded(f'[defaults]\nrq.url = "redis://h/1"\ncelery.app = "x"\n[pools.a]\n{RQ}[pools.b]\n{COMMAND}')
    assert dict(config.pools[0].launch.env) == {"RQ_REDIS_URL": "redis://h/1"}


def test_a_pools_own_command_or_backend_stands_in_place_of_an_inherited_one(loaded: Load) -> None:
    (pool,) = loaded(f"[defaults]\n{COMMAND}[pools.a]\n{RQ}").pools
    assert pool.backend is not None
    assert pool.command != ("true",)
    (pool,) = loaded(f"[defaults]\n{RQ}[pools.a]\n{COMMAND}").pools
    assert (pool.backend, pool.command) == (None, ("true",))


@pytest.mark.parametrize(
    ("options", "at_once"),
    [
        ('backend = "celery"\ncelery = { app = "proj.app", concurrency = 4 }', 4),
        ('backend = "celery"\ncelery.app = "proj.app"', 1),
        ('backend = "dramatiq"\ndramatiq = { app = "proj.tasks", processes = 2, threads = 4 }', 8),
        ('backend = "huey"\nhuey = { app = "proj.huey", workers = 3 }', 3),
        ('backend = "procrastinate"\nprocrastinate = { app = "proj.app.app", concurrency = 5 }', 5),
        ('backend = "saq"\nsaq = { app = "proj.settings", concurrency = 6 }', 6),
        ('backend = "taskiq"\ntaskiq = { app = "proj.broker:broker", concurrency = 7 }', 7),
        ('backend = "arq"\narq = { app = "proj.WorkerSettings", concurrency = 10 }', 10),
        (LARAVEL, 1),
    ],
)
def test_how_many_jobs_a_worker_does_at_once_is_known_where_it_is_written(
    loaded: Load, options: str, at_once: int
) -> None:
    (pool,) = loaded(f'[pools.a]\npython = "/app/bin/python"\n{options}').pools
    assert pool.backend is not None
    assert pool.backend.at_once == at_once


def test_command_is_a_backend_by_name_too(loaded: Load) -> None:
    (named, plain) = loaded(f'[pools.a]\nbackend = "command"\n{COMMAND}[pools.b]\n{COMMAND}').pools
    assert named == replace(plain, name="a")
