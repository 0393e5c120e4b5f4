"""Why a worker could not be started: the exact cause in words, and nothing left open."""

import os
from pathlib import Path

import anyio
import pytest

from chaperone_async.core.spec import Launch, PoolSpec
from chaperone_async.system.child import OsProcesses
from chaperone_async.system.environment import parse_env_file
from chaperone_async.system.ports import SpawnError
from tests.system.world import REF, Written


async def error_of(command: tuple[str, ...], launch: Launch | None = None) -> str:
    written = Written()
    async with OsProcesses(written) as processes:
        await anyio.wait_all_tasks_blocked()  # the background tasks have opened theirs
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(SpawnError) as caught:
            await processes.spawn(REF, "pool-1a2b3c", PoolSpec(name="pool", command=command, launch=launch or Launch()))
        assert len(os.listdir("/proc/self/fd")) == before
        assert not written.readers
    return str(caught.value)


def program(path: Path, text: str, mode: int = 0o755) -> str:
    path.write_text(text)
    path.chmod(mode)
    return str(path)


async def test_the_program(tmp_path: Path) -> None:
    assert "no such program on PATH" in await error_of(("phpp",))
    assert "no such file" in await error_of((f"{tmp_path}/absent",))
    assert "not executable" in await error_of((program(tmp_path / "plain", "#!/bin/sh\n", 0o644),))
    assert "exec format error" in await error_of((program(tmp_path / "text", "hello\n"),))
    assert "interpreter" in await error_of((program(tmp_path / "lost", "#!/no/such/interpreter\n"),))
    assert "it is a directory" in await error_of((f"{tmp_path}/",))
    assert "the command is empty" in await error_of(("",))
    assert "null byte" in await error_of(("a\0b",))


async def test_where_the_supervisors_own_directory_is_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "release-1"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert "the supervisor's own directory is no more; set directory" in await error_of(("./worker.sh",))


async def test_the_directory_is_told_from_the_program(tmp_path: Path) -> None:
    file = program(tmp_path / "file", "")
    assert f"directory '{tmp_path}/x': no such directory" in await error_of(
        ("true",), Launch(directory=f"{tmp_path}/x")
    )
    assert "not a directory" in await error_of(("true",), Launch(directory=file))
    assert "no such program" in await error_of(("phpp",), Launch(directory=str(tmp_path)))


async def test_the_user_and_the_group() -> None:
    assert "user 'nosuch': no such user" in await error_of(("true",), Launch(user="nosuch"))
    assert "group 'nosuch': no such group" in await error_of(("true",), Launch(group="nosuch"))
    assert "no user can have this number" in await error_of(("true",), Launch(user="4294967295"))
    assert "no group can have this number" in await error_of(("true",), Launch(group="99999999999"))


@pytest.mark.skipif(os.geteuid() != 0, reason="tried as an unprivileged user, which root can become")
async def test_what_an_unprivileged_supervisor_may_not_do(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    os.seteuid(65534)
    try:
        assert "not permitted to switch" in await error_of(("true",), Launch(user="daemon"))
        assert "not accessible" in await error_of(("true",), Launch(directory=str(tmp_path)))
        assert "not reachable" in await error_of((f"{tmp_path}/program",))
        assert "cannot set nice -20: not permitted" in await error_of(("sleep", "1000"), Launch(nice=-20))
    finally:
        os.seteuid(0)


async def test_the_env_file(tmp_path: Path) -> None:
    assert f"env_file '{tmp_path}/.env': no such file" in await error_of(("true",), Launch(env_file=f"{tmp_path}/.env"))
    broken = program(tmp_path / "broken", "A=1\nnonsense\n")
    assert "line 2 is no assignment" in await error_of(("true",), Launch(env_file=broken))


async def test_limits_that_cannot_be_set_end_the_newborn() -> None:
    assert "no such limit; valid are as," in await error_of(("sleep", "1000"), Launch(rlimits=(("files", 1),)))
    assert "rlimit 'nofile'" in await error_of(("sleep", "1000"), Launch(rlimits=(("nofile", 1 << 62),)))


def test_an_env_file_is_read_as_shells_do() -> None:
    text = """
# comment
A=1
export B = two words  # comment
C='single $x # kept' # comment
D="double \\"quoted\\" \\n \\$x"
E=
F=a#b
"""
    assert parse_env_file(text) == {
        "A": "1",
        "B": "two words",
        "C": "single $x # kept",
        "D": 'double "quoted" \n $x',
        "E": "",
        "F": "a#b",
    }
    with pytest.raises(ValueError, match="line 1 has a quote"):
        parse_env_file("A='open")
