"""A real Redis, RabbitMQ and PostgreSQL: one of each kind for a whole test run, started by whoever needs it first; it
ends with the run. Each process that runs tests has a database of its own there, which is emptied for each test."""

import fcntl
import json
import os
import subprocess
import sys
from base64 import b64encode
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.backends.keeper import FAILED, START
from tests.e2e.service import ROOT, until


class Run(NamedTuple):
    """`shared`: a directory that all processes of the run know; `pid`: whose end is the end of the run; `me`: the
    number of this process among them."""

    shared: Path
    pid: int
    me: int


def this_run(base: Path) -> Run:
    """`base`: the temporary directory of this process."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    return Run(base, os.getpid(), 0) if worker is None else Run(base.parent, os.getppid(), int(worker[2:]))


def address(kind: str, run: Run) -> str:
    """Of the run's server."""
    record, log = start(kind, run)
    until(record.exists, START + 5, log.read_text)
    said = record.read_text()
    if said.startswith(FAILED):
        pytest.fail(said, pytrace=False)
    return said


def start(kind: str, run: Run) -> tuple[Path, Path]:
    """If nobody has yet. The file that will have its address, and one for what goes wrong before."""
    record, log = run.shared / f"{kind}.server", run.shared / f"{kind}.log"
    command = [sys.executable, "-m", "tests.backends.keeper", kind, str(run.pid), str(record)]
    with (run.shared / f"{kind}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not log.exists():
            with log.open("wb") as output:
                subprocess.run(
                    command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
                    check=True,
                )  # fmt: skip
    return record, log


def empty_redis(run: Run) -> str:
    from redis import Redis

    url = f"{address('redis', run)}/{run.me}"
    with Redis.from_url(url) as client:
        client.flushdb()
    return url


def empty_postgresql(run: Run) -> str:
    import psycopg

    server, name = address("postgresql", run), f"test_{run.me}"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f"drop database if exists {name} with (force)")
        connection.execute(f"create database {name}")
    return f"{server}/{name}"


def empty_rabbitmq(run: Run) -> str:
    """A new virtual host in place of the last."""
    broker, management = address("rabbitmq", run).split()
    name = f"test-{run.me}"
    connection = HTTPConnection(management, timeout=60)
    try:
        _ask(connection, "DELETE", f"/api/vhosts/{name}")
        assert _ask(connection, "PUT", f"/api/vhosts/{name}") == 201
        assert _ask(connection, "PUT", f"/api/permissions/{name}/guest", configure=".*", write=".*", read=".*") in {
            201,
            204,
        }
    finally:
        connection.close()
    return f"{broker}/{name}"


def _ask(connection: HTTPConnection, method: str, path: str, **body: str) -> int:
    headers = {"Authorization": f"Basic {b64encode(b'guest:guest').decode()}", "Content-Type": "application/json"}
    connection.request(method, path, json.dumps(body), headers)
    response = connection.getresponse()
    response.read()
    return response.status
