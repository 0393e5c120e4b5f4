"""Applications with an embedded queue, each in a directory of its own, and servers, empty for each test."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from chaperone_async.huey.database import Database
from tests.backends import servers
from tests.backends.celery_shop import Shop
from tests.backends.consumer import Application
from tests.backends.servers import Run
from tests.e2e.conftest import launch, script

__all__ = ["launch", "script"]


def pytest_collection_finish(session: pytest.Session) -> None:
    """RabbitMQ takes seconds to start: it begins with the first tests of all."""
    wanted = any("rabbitmq_url" in getattr(item, "fixturenames", ()) for item in session.items)
    if wanted and not session.config.option.collectonly:
        factory: pytest.TempPathFactory = session.config._tmp_path_factory  # type: ignore[attr-defined]  # pytest's own
        servers.start("rabbitmq", servers.this_run(factory.getbasetemp()))


@pytest.fixture(autouse=True)
def queue_files_are_closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Since 3.13 Python warns of a connection that is left open, whenever it finds one."""
    made, begin = list[Database](), Database.__init__

    def remember(database: Database, *arguments: Any, **options: Any) -> None:
        begin(database, *arguments, **options)
        made.append(database)

    monkeypatch.setattr(Database, "__init__", remember)
    yield
    for database in made:
        database.close()


@pytest.fixture
def application(tmp_path: Path) -> Callable[..., Application]:
    def make(tasks: str, options: str = "") -> Application:
        return Application(tmp_path, tasks, options=options)

    return make


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return servers.this_run(tmp_path_factory.getbasetemp())


@pytest.fixture
def redis_url(run: Run) -> str:
    """An empty database of a real Redis, such as redis://127.0.0.1:12345/0."""
    return servers.empty_redis(run)


@pytest.fixture
def rabbitmq_url(run: Run) -> str:
    """An empty virtual host of a real RabbitMQ, such as amqp://guest:guest@127.0.0.1:12345/test-0."""
    return servers.empty_rabbitmq(run)


@pytest.fixture
def postgres_url(run: Run) -> str:
    """An empty database of a real PostgreSQL, such as postgresql://postgres@127.0.0.1:12345/test_0."""
    return servers.empty_postgresql(run)


@pytest.fixture
def open_celery(tmp_path: Path) -> Iterator[Callable[[str], Shop]]:
    """An application at the broker of this address."""
    with ExitStack() as shops:
        yield lambda url: shops.enter_context(closing(Shop(url, tmp_path / "out")))
