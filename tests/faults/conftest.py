"""Services started by a test are stopped after it, and nothing that they or their workers started may be left."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from chaperone_async.system.kin import become_subreaper, reap
from tests.faults.service import Service, alive, children, command_line, until

LEAVING = 60.0

Start = Callable[..., Service]


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """This process adopts all orphans: whatever outlives its supervisor is found here, janitors included."""
    give_up = become_subreaper()
    try:
        yield
        mine = os.getpid()
        until(lambda: not any(alive(pid) for pid in children(mine)), LEAVING, "a process is left: ")
        assert all(reap(pid) for pid in children(mine))
    finally:
        left = {pid: command_line(pid) for pid in children(os.getpid()) if alive(pid)}
        give_up()
        assert not left, left


@pytest.fixture
def start(tmp_path: Path, nothing_left: None) -> Iterator[Start]:
    services: list[Service] = []

    def start_one(pools: str, *, within: Path = tmp_path, **options: Any) -> Service:
        services.append(Service(within, pools, **options))
        return services[-1]

    yield start_one
    try:
        for service in services:
            service.stop()
    finally:
        for service in services:
            service.process.kill()
            service.process.wait()


@pytest.fixture
def nobodys_directory() -> Iterator[Path]:
    """For a service that runs as nobody: pytest's own directories are closed to others."""
    with TemporaryDirectory(prefix="faults-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        os.chown(name, 65534, 65534)
        yield Path(name)


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str, str], Path]:
    """Writes a worker's program."""

    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    return write
