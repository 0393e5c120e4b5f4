"""What workers print, on the supervisor's own output or in files, whole lines each with its origin."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.service import Launch, Script, Service, command

TALKER = """
    import os, signal, sys
    slot = os.environ["CHAPERONE_SLOT"]
    sys.stdout.write(f"first from {slot}\\n" + "second, not")
    sys.stdout.flush()
    sys.stderr.write(f" from {slot}, and on stderr\\n")
    sys.stderr.flush()
    print('{"message": "third", "level": "debug", "job": 17, "worker": "mine"}', flush=True)
    print("ünïcödé", flush=True)
    signal.pause()
"""
POOL = """
[pools.talkers]
workers = 2
restart.start_seconds = 0.1
command = {command}
"""


def test_as_text_every_line_begins_with_its_worker(launch: Launch, script: Script) -> None:
    service = launch(POOL.format(command=command(script("talker", TALKER))))
    service.until(lambda: len(service.lines("ünïcödé")) == 2)

    for row in service.workers("talkers"):
        prefix = f"{row['id']} | "
        lines = [line.removeprefix(prefix) for line in service.log().splitlines() if line.startswith(prefix)]
        assert lines == [
            f"first from {row['slot']}",
            f"second, not from {row['slot']}, and on stderr",
            '{"message": "third", "level": "debug", "job": 17, "worker": "mine"}',
            "ünïcödé",
        ]
        logs = service.get(f"/api/v1/pools/talkers/workers/{row['id']}/logs?lines=2").body.splitlines()
        assert logs == lines[2:]
    service.stop()
    assert all(" | " in line for line in service.log().splitlines())


def test_as_json_every_line_is_an_object_and_one_that_was_keeps_its_fields(launch: Launch, script: Script) -> None:
    service = launch(POOL.format(command=command(script("talker", TALKER))), head='logs.format = "json"')
    service.until(lambda: len(service.lines("ünïcödé")) == 2)
    rows = service.workers("talkers")
    service.stop()

    lines = [json.loads(line) for line in service.log().splitlines()]
    assert all({"time", "message"} <= line.keys() for line in lines)
    for row in rows:
        said = [line for line in lines if line.get("slot") == row["slot"] and "event" not in line]
        assert [line["message"] for line in said] == [
            f"first from {row['slot']}",
            f"second, not from {row['slot']}, and on stderr",
            "third",
            "ünïcödé",
        ]
        assert {line["pool"] for line in said} == {"talkers"}
        assert [line["worker"] for line in said] == [row["id"], row["id"], "mine", row["id"]]
        assert (said[2]["level"], said[2]["job"]) == ("debug", 17)
    events = [line["event"] for line in lines if "event" in line]
    assert events[0] == "supervisor.started"
    assert events[-1] == "supervisor.stopped"
    assert events.count("worker.started") == 2


def test_in_files_the_lines_are_as_they_were_written(launch: Launch, script: Script, tmp_path: Path) -> None:
    logs = f'logs = {{ mode = "file", path = "{tmp_path}/{{pool}}-{{slot}}.log" }}\n'
    service = launch(POOL.format(command=command(script("talker", TALKER))) + logs)

    files = [tmp_path / f"talkers-{slot}.log" for slot in (0, 1)]
    service.until(lambda: all(path.exists() and "ünïcödé\n" in path.read_text() for path in files))

    for slot, path in enumerate(files):
        assert path.read_text().splitlines()[:2] == [
            f"first from {slot}",
            f"second, not from {slot}, and on stderr",
        ]
    assert service.lines("first from") == []
    assert service.lines("talkers-", " started (pid ")


FLOOD = """
    import os
    while True:
        os.write(1, b"x" * 200 + b"\\n")
"""


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def test_nobody_who_does_not_read_the_output_holds_up_the_supervisor(
    script: Script, tmp_path: Path, pipe: tuple[int, int]
) -> None:
    flood = f"[pools.flood]\ncommand = {command(script('flood', FLOOD))}\nrestart.start_seconds = 0.1\n"
    with Service(tmp_path, flood) as service:
        service.run(service.words, subprocess.DEVNULL, pipe[1]).until_up("/readyz")
        worker = service.workers("flood")[0]
        os.kill(worker["pid"], signal.SIGKILL)
        service.until(lambda: service.workers("flood")[0]["pid"] not in (None, worker["pid"]))
        service.send(signal.SIGTERM)
        assert service.wait() == 0


def test_an_output_that_was_closed_does_not_end_the_supervisor(script: Script, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    talker = POOL.format(command=command(script("talker", TALKER)))
    with Service(tmp_path, talker) as service:
        service.run(service.words, subprocess.DEVNULL, writer)
        os.close(writer)
        service.until_up("/readyz").until(lambda: service.pool("talkers")["ready_workers"] == 2)
        assert service.stop() == 0
