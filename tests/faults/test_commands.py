"""Commands that cannot be run: a fact about one pool, told in words, and no trouble for the others."""

import json
import os
from functools import partial
from pathlib import Path

import pytest

from tests.faults.conftest import Start
from tests.faults.service import AS_NOBODY, Service, polled, until

POOLS = """
[defaults]
restart.backoff = {{ initial = 0.05, max = 0.2 }}

[pools.good]
command = "sleep 1000"

[pools.missing]
command = "no-such-program-anywhere --now"

[pools.closed]
command = "{directory}/closed"

[pools.nowhere]
command = "sleep 1000"
directory = "{directory}/not-there"

[pools.nobody]
command = "sleep 1000"
user = "no-such-user-anywhere"

[pools.folder]
command = "{directory}/"

[pools.wrong-interpreter]
command = "{directory}/wrong"

[pools.no-program-at-all]
command = "{directory}/text"

[pools.env-file]
command = "sleep 1000"
env_file = "{directory}/no.env"
"""
REASONS = {
    "missing": "cannot run 'no-such-program-anywhere': no such program on PATH",
    "closed": "not executable",
    "nowhere": "no such directory",
    "nobody": "no such user",
    "folder": "it is a directory",
    "wrong-interpreter": "the interpreter in its first line is missing",
    "no-program-at-all": "exec format error",
    "env-file": "cannot read env_file",
}


def shown_reason(service: Service, pool: str) -> bool:
    return bool(service.pool(pool)["reason"])


def restarted(service: Service, pool: str) -> bool:
    return bool(service.pool(pool)["restarts"] >= 3)


def test_a_pool_whose_command_cannot_be_run_says_why_and_the_others_run(start: Start, tmp_path: Path) -> None:
    (tmp_path / "closed").write_text("#!/bin/sh\n")
    for name, text in (("wrong", "#!/no/such/interpreter\n"), ("text", "sleep 1000\n")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    service = start(POOLS.format(directory=tmp_path)).serving()
    until(lambda: service.pool("good")["ready"])
    with polled(service, "/livez"):
        for name, reason in REASONS.items():
            until(partial(shown_reason, service, name))
            pool = service.pool(name)
            assert reason in pool["reason"], name
            assert reason in pool["workers"][0]["problem"]
            until(partial(restarted, service, name))
            assert service.pool(name)["workers"][0]["status"] in {"backoff", "starting"}
            crash = service.crashes(name)[0]
            assert (crash["reason"], crash["pid"], crash["exit_code"]) == ("spawn_error", None, None)
    assert service.get("/readyz")[0] == 503
    assert service.get("/readyz/good")[0] == 200
    assert "no such program on PATH" in service.cli("status").stdout
    shown = json.loads(service.cli("status", "--format", "json").stdout)
    assert "no such user" in next(pool["reason"] for pool in shown["pools"] if pool["name"] == "nobody")
    assert service.pool("good")["restarts"] == 0
    assert service.stop() == 0


def test_a_pool_runs_as_soon_as_what_was_missing_is_there(start: Start, tmp_path: Path) -> None:
    pools = f'[pools.late]\ncommand = "{tmp_path}/late"\nrestart.backoff = {{ initial = 0.05, max = 0.2 }}\n'
    service = start(pools + "restart.start_seconds = 0.1\nrestart.crash_loop.early = 0.2").serving()
    until(lambda: service.pool("late")["restarts"] >= 3)
    program = tmp_path / "late.new"
    program.write_text("#!/bin/sh\nexec sleep 1000\n")
    program.chmod(0o755)
    program.rename(tmp_path / "late")
    until(lambda: service.get("/readyz")[0] == 200)
    until(lambda: service.pool("late")["reason"] is None)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run the service as somebody else")
def test_a_user_that_may_not_be_switched_to_is_named(start: Start, nobodys_directory: Path) -> None:
    pools = '[pools.a]\ncommand = "sleep 1000"\nuser = "daemon"\n[pools.b]\ncommand = "sleep 1000"'
    service = start(pools, within=nobodys_directory, prefix=AS_NOBODY).serving()
    reason = until(lambda: service.pool("a")["reason"])
    assert "cannot run as user 'daemon': not permitted" in reason
    until(lambda: service.pool("b")["ready"])
