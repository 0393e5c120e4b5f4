"""The servers that the other tests here talk to."""

import subprocess
from pathlib import Path

import pika
import psycopg
import pytest
from redis import Redis

from tests.backends import servers
from tests.backends.servers import Run
from tests.e2e.service import alive, until


def test_each_test_finds_redis_empty(run: Run) -> None:
    for _ in range(2):
        with Redis.from_url(servers.empty_redis(run)) as client:
            assert client.dbsize() == 0
            client.set("a", 1)


def test_each_test_finds_postgresql_empty(run: Run) -> None:
    for _ in range(2):
        with psycopg.connect(servers.empty_postgresql(run)) as connection:
            connection.execute("create table a ()")


def test_each_test_finds_rabbitmq_empty(run: Run) -> None:
    for _ in range(2):
        with pika.BlockingConnection(pika.URLParameters(servers.empty_rabbitmq(run))) as connection:
            channel = connection.channel()
            assert channel.queue_declare("a").method.message_count == 0
            channel.basic_publish("", "a", b"job")


def test_a_server_that_is_not_installed_is_said_to_be_so(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(pytest.fail.Exception, match=r"^cannot find redis-server; .* apt-get install redis-server, or"):
        servers.empty_redis(run._replace(shared=tmp_path))


def test_a_server_ends_with_the_run_however_that_ends(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as run:
        try:
            url = servers.address("redis", Run(tmp_path, run.pid, 0))
            with Redis.from_url(url) as client:
                home, pid = Path(client.config_get("dir")["dir"]), client.info()["process_id"]
            assert alive(pid)
            assert home.exists()
        finally:
            run.kill()
    until(lambda: not alive(pid) and not home.exists())
