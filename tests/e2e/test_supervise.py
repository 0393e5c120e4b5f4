"""The supervisor in the foreground: what it runs is what was typed, and Ctrl-C is not for its workers."""

import os
import pty
import subprocess
import sys
from pathlib import Path

from tests.e2e.service import Script, Service, command

WORKER = """
    import os, signal, sys, time
    def note(number, _):
        print("heard", signal.Signals(number).name, "on", sys.argv[1], flush=True)
        if number == signal.SIGTERM:
            time.sleep(0.3)
            sys.exit()
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, note)
    print("working on", sys.argv[1], "in slot", os.environ["CHAPERONE_SLOT"], flush=True)
    while True:
        signal.pause()
"""
IN_A_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-m", "chaperone_async", *sys.argv[1:]])
"""


def test_ctrl_c_drains_once_and_the_workers_do_not_hear_it(script: Script, tmp_path: Path) -> None:
    words = ["supervise", "emails", "--workers", "2", "--listen", f"unix:{tmp_path}/s", "--"]
    worker = [sys.executable, "-S", "-E", str(script("worker", WORKER)), "{queue}"]
    keyboard, terminal = pty.openpty()
    try:
        with Service(tmp_path, "") as service:
            service.run([sys.executable, "-c", IN_A_TERMINAL, *words, *worker], terminal).until_up()
            service.until(lambda: len(service.lines("| working on emails in slot ")) == 2)

            os.write(keyboard, b"\x03")

            assert service.wait() == 0
            assert len(service.lines("SIGINT: draining")) == 1
            assert service.lines("again") == []
            heard = [line.partition("heard ")[2] for line in service.lines("| heard ")]
            assert heard == ["SIGTERM on emails"] * 2
            assert {line.rpartition(" ended ")[2] for line in service.lines(" ended ")} == {
                "(stop): the supervisor shuts down"
            }
    finally:
        os.close(keyboard)
        os.close(terminal)


def test_up_runs_only_the_pools_that_are_named(script: Script, tmp_path: Path) -> None:
    run = command(script("worker", WORKER), "all")
    pools = "".join(f"[pools.{name}]\ncommand = {run}\nrestart.start_seconds = 0.1\n" for name in ("a", "b", "c"))
    with Service(tmp_path, pools) as service:
        service.run([*service.words, "a", "c"], subprocess.DEVNULL).until_up()
        assert [pool["name"] for pool in service.status()["pools"]] == ["a", "c"]
        assert service.stop() == 0
        assert service.run([*service.words, "a", "d"], subprocess.DEVNULL).wait() == 2
        assert service.log().startswith("chaperone: cannot run pool 'd': there is none; ")
