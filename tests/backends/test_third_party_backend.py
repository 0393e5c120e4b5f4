"""A backend that another distribution brings: `thirdparty/spool`, found by its entry point alone."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.service import Service

THIRD_PARTY = Path(__file__).parent / "thirdparty"


class WithSpool(Service):
    """Of a supervisor that has spool on its path."""

    def environment(self, **more: str) -> dict[str, str]:
        environment = super().environment(**more)
        return {**environment, "PYTHONPATH": f"{environment['PYTHONPATH']}{os.pathsep}{THIRD_PARTY}"}


class Spool:
    def __init__(self, place: Path) -> None:
        self.directory, self.gate = place / "jobs", place / "gate"
        (self.directory / "emails").mkdir(parents=True)

    def send(self, name: str, script: str) -> None:
        """It is there at once, or not at all."""
        new = self.directory / name
        new.write_text(script)
        new.rename(self.directory / "emails" / f"{name}.job")

    def pool(self, more: str = "") -> str:
        return f'[pools.a]\nbackend = "spool"\nqueue = "emails"\nspool.directory = "{self.directory}"\n{more}\n'


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path)


@pytest.fixture
def service(tmp_path: Path, spool: Spool) -> Iterator[Service]:
    with WithSpool(tmp_path, spool.pool()) as service:
        yield service


def test_forty_lines_are_enough_for_a_backend() -> None:
    files = ("spool/backend.py", "spool/attendant.py", "spool-1.0.dist-info/entry_points.txt")
    lines = [line for file in files for line in (THIRD_PARTY / file).read_text().splitlines() if line]
    assert len(lines) <= 40


def test_a_backend_of_another_distribution_does_jobs_tells_of_them_and_puts_back_what_the_dead_had(
    service: Service, spool: Spool, tmp_path: Path
) -> None:
    done = tmp_path / "done"
    for number in range(3):
        spool.send(f"{number}", f"echo {number} >> {done}")
    spool.send("4", f"echo begun >> {done}; while [ ! -e {spool.gate} ]; do sleep 0.01; done; echo 4 >> {done}")
    spool.send("5", f"echo 5 >> {done}")
    service.start().until_up("/readyz")
    service.until(lambda: done.exists() and "begun" in done.read_text())
    pool = service.until(lambda: (p := service.pool("a"))["backlog"] and p["backlog"]["ready"] == 1 and p)
    (worker,) = pool["workers"]
    assert (worker["activity"], worker["current_job"], worker["jobs_processed"]) == ("busy", "4", 3)
    os.kill(worker["pid"], signal.SIGKILL)
    service.until(lambda: done.read_text().count("begun") == 2)
    service.until(lambda: service.lines("1 job of"))
    spool.gate.touch()
    service.until(lambda: done.read_text().split()[-1] == "5")
    assert sorted(done.read_text().split()) == ["0", "1", "2", "4", "5", "begun", "begun"]
    assert service.stop() == 0


def test_its_table_is_checked_as_any_other(service: Service, spool: Spool) -> None:
    def check(pools: str) -> list[str]:
        service.config.write_text(pools)
        outcome = service.cli("config", "check")
        assert outcome.code == 2
        return [line.removeprefix(f"chaperone: {service.config}: pools.a.") for line in outcome.err.splitlines()]

    assert check(spool.pool("job.tries = 3").replace("directory =", "directry =")) == [
        "spool.directry: unknown key; did you mean 'directory'?",
        'spool.directory: is missing; write one such as "/var/spool/jobs"',
    ]
    assert check('[pools.a]\nbackend = "spol"') == ["backend: 'spol' is not a backend; did you mean 'spool'?"]
    assert check(spool.pool("job = { tries = 3, timeout = 60 }")) == [
        "job.tries: cannot be honoured: workers of 'spool' are not told of it; remove it"
    ]
