"""Of two supervisors at one address the second is refused before it starts anything; a dead one is no obstacle."""

import os
import signal
from pathlib import Path

from tests.e2e.service import Launch, Script, command, until

WORKER = """
    import signal, sys
    open(sys.argv[1], "a").write("started\\n")
    signal.pause()
"""


def pool(script: Script, trace: Path) -> str:
    return f"[pools.emails]\ncommand = {command(script('worker', WORKER), str(trace))}\nrestart.start_seconds = 0.1\n"


def test_a_second_supervisor_on_the_same_unix_socket_is_refused(launch: Launch, script: Script, tmp_path: Path) -> None:
    first = launch(pool(script, tmp_path / "first"), place="a")
    before = first.workers("emails")[0]["id"]

    second = launch(pool(script, tmp_path / "second"), place="b", unix="../a/s", probe=None)

    assert second.wait() == 1
    (line,) = second.log().splitlines()
    assert line.startswith(f"chaperone: cannot listen on unix:{second.socket}: another supervisor is there (process ")
    assert f"(process {first.pid})" in line
    assert not (tmp_path / "second").exists()
    assert first.get("/livez").status == 200
    assert first.workers("emails")[0]["id"] == before


def test_a_second_supervisor_on_the_same_port_is_refused(launch: Launch, script: Script, tmp_path: Path) -> None:
    first = launch(pool(script, tmp_path / "first"), place="a")

    second = launch(pool(script, tmp_path / "second"), place="b", tcp=f"127.0.0.1:{first.port}", probe=None)

    assert second.wait() == 1
    (line,) = second.log().splitlines()
    address = f"127.0.0.1:{first.port}"
    assert line.startswith(f"chaperone: cannot listen on {address}: the port is taken by another program; ")
    assert not (tmp_path / "second").exists()
    assert not second.socket.exists()
    assert first.get("/livez", tcp=True).status == 200


def test_the_socket_of_a_killed_supervisor_is_replaced(launch: Launch, script: Script, tmp_path: Path) -> None:
    first = launch(pool(script, tmp_path / "first"), place="a")
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    until(lambda: not first.left(), otherwise=lambda: str(first.left()))
    assert first.socket.exists()

    second = launch(pool(script, tmp_path / "second"), place="b", unix="../a/s")

    assert second.status()["pid"] == second.pid
    assert second.stop() == 0
    assert not second.socket.exists()
