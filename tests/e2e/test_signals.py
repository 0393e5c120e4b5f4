"""Signals to the supervisor: tell, roll, pause and resume, and nothing."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.service import Service, command

SLEEPER = "import signal; signal.pause()"
POOLS = """
[defaults]
command = {sleeper}
restart.start_seconds = 0.1
[pools.emails]
workers = 2
[pools.images]
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Each test leaves it with all workers running."""
    place = tmp_path_factory.mktemp("signals")
    (place / "sleeper.py").write_text(SLEEPER)
    with Service(place, POOLS.format(sleeper=command(place / "sleeper.py"))) as service:
        service.start().until(lambda: service.is_up() and ready(service) == (2, 1))
        yield service


def ready(service: Service) -> tuple[int, int]:
    return service.pool("emails")["ready_workers"], service.pool("images")["ready_workers"]


def workers(service: Service) -> dict[tuple[str, int], int]:
    """The pid in each slot."""
    return {(pool, row["slot"]): row["pid"] for pool in ("emails", "images") for row in service.workers(pool)}


def letter(pid: int) -> str:
    """Of the process's state: T for a stopped one."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_usr1_tells_the_state_of_every_worker(service: Service) -> None:
    service.send(signal.SIGUSR1)

    service.until(lambda: service.lines("images: slot 0 "))
    assert service.lines("emails: running, 2 of 2 ready")
    for (pool, slot), pid in workers(service).items():
        assert service.lines(f"{pool}: slot {slot} running", f"pid {pid} ")


def test_usr2_replaces_every_worker_and_is_never_short_of_one(service: Service) -> None:
    before = workers(service)
    least = 2

    service.send(signal.SIGUSR2)
    while set(workers(service).values()) & set(before.values()) or len(workers(service)) != len(before):
        least = min(least, service.pool("emails")["ready_workers"])
        assert service.get("/readyz").status == 200
    service.until(lambda: ready(service) == (2, 1))

    assert least == 2
    assert workers(service).keys() == before.keys()
    assert {death["reason"] for death in service.crashes("images")} == {"restart", "scaled_down"}


def test_tstp_freezes_all_workers_and_cont_wakes_the_same_ones(service: Service) -> None:
    before, deaths = workers(service), service.crashes("emails")

    service.send(signal.SIGTSTP)
    service.until(lambda: all(letter(pid) == "T" for pid in before.values()))
    paused = {row["status"] for pool in ("emails", "images") for row in service.workers(pool)}
    ready_while_paused = service.get("/readyz").status
    service.send(signal.SIGCONT)
    service.until(lambda: ready(service) == (2, 1))

    assert paused == {"paused"}
    assert ready_while_paused == 200
    assert workers(service) == before
    assert {letter(pid) for pid in before.values()} <= {"S", "R"}
    assert service.crashes("emails") == deaths


def test_hup_changes_nothing(service: Service) -> None:
    before = workers(service)

    service.send(signal.SIGHUP)
    service.until(lambda: service.lines("SIGHUP: "))

    assert workers(service) == before
    assert service.get("/readyz").status == 200
