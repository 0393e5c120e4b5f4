"""Whatever ails a worker, it is degraded, then unhealthy, and then replaced; its record says what it was."""

import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

import pytest

from tests.e2e.service import ROOT, Document, Launch, Script, Service, command, hears

SLEEPER = "import signal; signal.pause()"
EATER = """
    import signal
    eaten = []
    signal.signal(signal.SIGUSR1, lambda *_: eaten.append(b"x" * 90_000_000))
    while True:
        signal.pause()
"""
BEATER = f"""
    import signal, sys, time
    sys.path.insert(0, {str(ROOT)!r})
    from chaperone_async.worker import notify
    signal.signal(signal.SIGUSR1, lambda *_: signal.pause())
    while True:
        notify.heartbeat()
        time.sleep(0.1)
"""
WEB = """
    import os, signal, socket, sys
    status = b"200 OK"
    def fall_ill(*_):
        global status
        status = b"500 Internal Server Error"
    signal.signal(signal.SIGUSR1, fall_ill)
    server = socket.create_server(("127.0.0.1", int(sys.argv[1] + os.environ["CHAPERONE_SLOT"])))
    while True:
        client, _ = server.accept()
        client.recv(4096)
        client.sendall(b"HTTP/1.1 " + status + b"\\r\\nContent-Length: 0\\r\\nConnection: close\\r\\n\\r\\n")
        client.close()
"""
CHECKS = """
    from pathlib import Path

    def healthy(worker):
        return not Path(f"sick-python-{worker.slot}").exists()
"""
CLINIC = """
    [defaults]
    workers = 2
    command = {sleeper}
    restart.start_seconds = 0.1
    health = {{ interval = 0.15, failure_threshold = 3, timeout = 60 }}

    [pools.memory]
    command = {eater}
    health.memory_limit = "60MB"
    [pools.stopped]
    [pools.silent]
    command = {beater}
    health.heartbeat = 3.0
    [pools.http]
    command = {web}
    health.http = "http://127.0.0.1:{base}{{slot}}/health"
    [pools.exec]
    health.exec = {inspect}
    [pools.python]
    health.python = "checks:healthy"
    [pools.hardy]
    health.exec = {inspect}
    health.failure_threshold = 100000
"""
INSPECT = 'test ! -e "sick-$CHAPERONE_POOL-$CHAPERONE_SLOT" || { echo out of ink; exit 7; }'


def free_tens() -> int:
    """A number to which the digits 0 and 1 can be appended, and the ports of those names are free."""
    for base in range(1100 + os.getpid() % 1000, 3200):  # below the ports that systems hand out by themselves
        try:
            for slot in (0, 1):
                socket.create_server(("127.0.0.1", base * 10 + slot)).close()
        except OSError:
            continue
        return base
    raise AssertionError("there are no two free ports side by side")


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    place = tmp_path_factory.mktemp("clinic")
    base = free_tens()
    scripts = {"sleeper": SLEEPER, "eater": EATER, "beater": BEATER, "web": WEB, "checks": CHECKS}
    for name, source in scripts.items():
        (place / f"{name}.py").write_text(dedent(source))
    pools = CLINIC.format(
        sleeper=command(place / "sleeper.py"), eater=command(place / "eater.py"), beater=command(place / "beater.py"),
        web=command(place / "web.py", str(base)), base=base, inspect=json.dumps(["/bin/sh", "-c", INSPECT]),
    )  # fmt: skip
    with Service(place, dedent(pools)) as service:
        yield service.start().until_up()


def send(number: signal.Signals) -> Callable[[Service, int], None]:
    def infect(service: Service, pid: int) -> None:
        service.until(lambda: number == signal.SIGSTOP or hears(pid, number))
        os.kill(pid, number)

    return infect


def sicken(pool: str) -> Callable[[Service, int], None]:
    return lambda service, _: (service.directory / f"sick-{pool}-1").touch()


class Ailment(NamedTuple):
    pool: str
    infect: Callable[[Service, int], None]
    reason: str
    detail: str


AILMENTS = (
    Ailment("memory", send(signal.SIGUSR1), "memory", " MB of at most 60 MB"),
    Ailment("stopped", send(signal.SIGSTOP), "unhealthy", "process check failed 3 times in a row: stopped by a signal"),
    Ailment("silent", send(signal.SIGUSR1), "unhealthy", "heartbeat check failed 3 times in a row: none for "),
    Ailment("http", send(signal.SIGUSR1), "unhealthy", "http check failed 3 times in a row: http 500"),
    Ailment("exec", sicken("exec"), "unhealthy", "exec check failed 3 times in a row: exit code 7: out of ink"),
    Ailment("python", sicken("python"), "unhealthy", "python check failed 3 times in a row: healthy returned False"),
)


@pytest.mark.parametrize("ailment", AILMENTS, ids=[ailment.pool for ailment in AILMENTS])
def test_an_ailing_worker_is_degraded_then_unhealthy_then_replaced(clinic: Service, ailment: Ailment) -> None:
    pool = ailment.pool
    well, ill = clinic.until(lambda: settled(clinic, pool))

    ailment.infect(clinic, ill["pid"])
    (death,) = clinic.until(lambda: clinic.crashes(pool))
    (clinic.directory / f"sick-{pool}-1").unlink(missing_ok=True)
    still_well, successor = clinic.until(lambda: settled(clinic, pool))

    assert (death["worker_id"], death["reason"]) == (ill["id"], ailment.reason)
    assert ailment.detail in death["detail"]
    changes = [line.partition(f"{ill['id']} is ")[2].partition(":")[0] for line in clinic.lines(f"{ill['id']} is ")]
    assert changes == ["degraded", "unhealthy", f"stopping ({ailment.reason})"]
    assert (still_well["id"], still_well["pid"]) == (well["id"], well["pid"])
    assert successor["id"] != ill["id"]
    assert successor["slot"] == 1


def settled(service: Service, pool: str) -> list[Document]:
    """Both workers, as soon as both run."""
    rows = service.workers(pool)
    return rows if all(row["status"] == "running" for row in rows) else []


def test_a_worker_that_fails_fewer_checks_than_the_threshold_is_degraded_until_one_passes(clinic: Service) -> None:
    _, worker = clinic.until(lambda: settled(clinic, "hardy"))
    sick = clinic.directory / "sick-hardy-1"

    sick.touch()
    degraded = clinic.until(lambda: [row for row in clinic.workers("hardy") if row["status"] == "degraded"])
    ready = clinic.get("/readyz/hardy")
    sick.unlink()
    _, recovered = clinic.until(lambda: settled(clinic, "hardy"))

    assert [row["id"] for row in degraded] == [worker["id"]]
    assert degraded[0]["problem"].startswith("exec: exit code 7: out of ink (")
    assert ready.status == 200
    assert recovered["id"] == worker["id"]


def test_a_worker_that_is_to_tell_when_it_is_ready_is_starting_until_it_does(
    launch: Launch, script: Script, tmp_path: Path
) -> None:
    teller = script(
        "teller",
        f"""
        import os, signal, sys
        sys.path.insert(0, {str(ROOT)!r})
        from chaperone_async.worker import notify
        open(sys.argv[1]).read()
        notify.ready()
        signal.pause()
        """,
    )
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    service = launch(
        f"""
        [pools.slow]
        command = {command(teller, str(gate))}
        health.ready = "notify"
        restart.start_seconds = 0.1
        """,
        probe="/livez",
    )
    service.until(lambda: service.pids("slow"))

    assert service.workers("slow")[0]["status"] == "starting"
    assert service.get("/startupz").status == 503
    assert service.get("/readyz").body == "[-]slow failed: starting: 0 of 1 workers ready"
    gate.write_text("go\n")  # waits for its reader
    service.until_up("/startupz")
    assert service.workers("slow")[0]["status"] == "running"
    assert service.get("/readyz").status == 200


def test_a_worker_that_is_not_ready_in_time_is_replaced_for_start_timeout(launch: Launch, script: Script) -> None:
    service = launch(
        f"""
        [pools.mute]
        command = {command(script("sleeper", SLEEPER))}
        health = {{ ready = "notify", start_timeout = 0.4 }}
        restart = {{ start_seconds = 0.1, backoff = {{ initial = 0.05 }} }}
        """,
        probe=None,
    )
    service.until_up("/livez")
    death = service.until(lambda: service.crashes("mute"))[-1]
    service.until(lambda: [row for row in service.workers("mute") if row["id"] != death["worker_id"]])

    assert death["reason"] == "start_timeout"
    assert death["detail"].startswith("not ready ")
    assert service.get("/startupz").status == 503
