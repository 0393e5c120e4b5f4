"""Reloads of a real supervisor: its file edited, the change asked for, and what came of it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGTERM
from threading import Thread

from tests.e2e.service import PATIENCE, Answer, Connection, Document, Launch, Script, Service, command, hears, until

WORKER = """
    import os, signal, sys, time
    place = os.path.join(os.path.dirname(__file__), "notes")
    def note(what):
        with open(place, "a") as notes:
            notes.write(f"{what} {os.environ['CHAPERONE_POOL']} {os.getpid()}\\n")
    def finish(*_):
        note("asked")
        time.sleep(float(sys.argv[2]))
        note("finished")
        os._exit(0)
    signal.signal(signal.SIGTERM, finish)
    note("started")
    while True:
        signal.pause()
"""
"""Told how long its job still takes when it is asked to end."""

QUICK = """
[defaults]
restart.start_seconds = 0.1
restart.backoff.initial = 0.05
stop.timeout = 20
"""


def worker(script: Script, version: str = "1", finish: float = 0) -> str:
    return command(script("worker", WORKER), version, f"{finish:g}")


def one(script: Script, **settings: object) -> str:
    """The pool `emails`."""
    return pool("emails", command=worker(script), **settings)


def pool(name: str, command: str, **settings: object) -> str:
    """Keys of tables are written with `__`: `logs__keep`."""
    lines = [f"{key.replace('__', '.')} = {json.dumps(value)}" for key, value in settings.items()]
    return "\n".join([f"[pools.{name}]", f"command = {command}", *lines, ""])


def start(launch: Launch, *pools: str, head: str = "") -> Service:
    service: Service = launch(QUICK + "\n".join(pools), head=head)
    return service


def edit(service: Service, old: str, new: str) -> None:
    text = service.config.read_text()
    assert old in text, f"{old!r} is not in the configuration"
    replaced(service.config, text.replace(old, new))


def replaced(path: Path, text: str) -> None:
    """At once, as editors and deployments do it: nobody reads the half of it."""
    beside = path.with_suffix(".new")
    beside.write_text(text)
    beside.rename(path)


def post(service: Service, path: str, timeout: float = PATIENCE, **body: object) -> Answer:
    connection = Connection(service.socket, timeout)
    headers = {"Content-Type": "application/json"} if body else {}
    try:
        connection.request("POST", f"/api/v1{path}", json.dumps(body) if body else None, headers)
        response = connection.getresponse()
        return Answer(response.status, response.read().decode())
    finally:
        connection.close()


def reload(service: Service, query: str = "wait=20") -> Document:
    """Through, one way or the other."""
    answer = post(service, f"/reload?{query}", timeout=2 * PATIENCE)
    assert answer.status == 200, answer.body
    return answer.json


@contextmanager
def reloading(service: Service, query: str = "wait=20") -> Iterator[Thread]:
    """While it is under way."""
    answers: list[Document] = []
    thread = Thread(target=lambda: answers.append(reload(service, query)))
    thread.start()
    try:
        yield thread
    finally:
        thread.join()
    assert [answer["state"] for answer in answers] == ["done"], answers


def events(service: Service, pool: str) -> list[Document]:
    """The oldest first."""
    newest_first: list[Document] = service.get(f"/api/v1/events?pool={pool}&limit=1000").json["events"]
    return newest_first[::-1]


def kinds(service: Service, pool: str) -> list[str]:
    return [event["event"] for event in events(service, pool)]


def least_ready(service: Service, pool: str) -> int:
    """So few were ready after the first time that all were, as the journal has it."""
    ready: set[int] = set()
    counts: list[int] = []
    full = False
    for event in events(service, pool):
        if event["event"] == "pool.changed":
            full = True
        if event["event"] == "worker.ready":
            ready.add(event["pid"])
        elif event["event"] in {"worker.stopping", "worker.died", "worker.ended"}:
            ready.discard(event["pid"])
        if full:
            counts.append(len(ready))
    return min(counts)


def notes(service: Service, what: str, pool: str = "emails") -> list[int]:
    """The pids of those who have noted it, in order."""
    place = service.directory / "notes"
    lines = [line.split() for line in place.read_text().splitlines()] if place.exists() else []
    return [int(pid) for done, name, pid in lines if (done, name) == (what, pool)]


def settled(service: Service, pool: str, workers: int) -> list[int]:
    """The pids, once so many are ready and no more live, and each can be asked to end."""

    def look() -> list[int] | None:
        shown = service.pool(pool)
        pids = [row["pid"] for row in shown["workers"] if row["pid"] is not None]
        return pids if shown["ready_workers"] == len(pids) == workers and all(map(listens, pids)) else None

    return until(look, otherwise=service.log)


def listens(pid: int) -> bool:
    """WORKER passes for ready by the clock, perhaps before it has its handler; other programs need none."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return b"worker.py" not in words or hears(pid, SIGTERM)
