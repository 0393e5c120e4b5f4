"""What a return code means, and deaths for want of memory, on every layout of control groups."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from chaperone_async.system.exits import (
    CREDIT_LIFE,
    OomLedger,
    exit_status,
    find_oom_counter,
    locate_oom_counters,
    parse_oom_kills,
)
from chaperone_async.system.ports import ExitStatus


def test_a_negative_code_is_a_signal() -> None:
    assert exit_status(0) == ExitStatus(code=0)
    assert exit_status(137) == ExitStatus(code=137)
    assert exit_status(-9, oom=True) == ExitStatus(signal=9, oom=True)


def test_the_counter_is_read_from_both_versions_files() -> None:
    assert parse_oom_kills("low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n") == 2
    assert parse_oom_kills("oom_kill_disable 0\nunder_oom 0\noom_kill 4\n") == 4
    assert parse_oom_kills("oom_kill_disable 0\nunder_oom 0\n") is None


V1 = "35 31 0:32 {root} /sys/fs/cgroup/memory rw,relatime shared:7 - cgroup cgroup rw,memory"
V2 = "41 31 0:38 {root} /sys/fs/cgroup{tail} rw,nosuid - cgroup2 cgroup2 rw,nsdelegate"


@pytest.mark.parametrize(
    ("cgroups", "mounts", "first"),
    [
        ("0::/system.slice/a.service", V2.format(root="/", tail=""), "system.slice/a.service/memory.events.local"),
        ("0::/", V2.format(root="/", tail=""), "memory.events.local"),
        (
            "4:memory:/a\n0::/",
            V1.format(root="/") + "\n" + V2.format(root="/", tail="/unified"),
            "memory/a/memory.oom_control",
        ),
        ("4:cpu,memory:/docker/1f", V1.format(root="/docker/1f"), "memory/memory.oom_control"),
        ("4:memory:/docker/1f/in", V1.format(root="/docker/1f"), "memory/in/memory.oom_control"),
        ("4:memory:/", V1.format(root="/docker/1f"), "memory/memory.oom_control"),
    ],
    ids=["v2", "v2 in a namespace", "hybrid", "v1 in a container", "v1 under a container", "v1 in a namespace"],
)
def test_the_counter_is_found(cgroups: str, mounts: str, first: str) -> None:
    assert locate_oom_counters(cgroups, mounts)[0] == Path("/sys/fs/cgroup", first)


def test_no_more_deaths_are_attributed_than_the_counter_grew_and_none_to_a_kill_of_long_ago(tmp_path: Path) -> None:
    counter = tmp_path / "memory.events"
    counter.write_text("oom_kill 7\n")
    ledger = OomLedger(counter)
    assert not ledger.claim(1)
    counter.write_text("oom_kill 9\n")
    assert [ledger.claim(2), ledger.claim(2), ledger.claim(2)] == [True, True, False]
    counter.write_text("oom_kill 10\n")
    ledger.look(10)
    assert not ledger.claim(10 + CREDIT_LIFE + 1)
    ledger.close()


def test_without_a_counter_nothing_is_attributed() -> None:
    assert not OomLedger(None).claim(1)


@pytest.fixture
def group() -> Iterator[Path]:
    """A memory control group of 20 MB, where this test may make one."""
    counter = find_oom_counter()
    if counter is None or counter.name != "memory.oom_control" or not os.access(counter.parent, os.W_OK):
        pytest.skip("no version 1 memory control group may be made here")
    folder = counter.parent / f"test-{os.getpid()}"
    folder.mkdir()
    (folder / "memory.limit_in_bytes").write_text(str(20 << 20))
    with suppress(OSError):  # where swap is accounted for
        (folder / "memory.memsw.limit_in_bytes").write_text(str(20 << 20))
    yield folder
    folder.rmdir()


def test_the_kernels_kill_is_told_from_a_kill(group: Path) -> None:
    ledger = OomLedger(group / "memory.oom_control")
    eater = f"open({str(group / 'cgroup.procs')!r}, 'w').write('0'); x = bytearray(64 << 20); input()"
    assert subprocess.run([sys.executable, "-c", eater], check=False).returncode == -9
    assert ledger.claim(1)
    assert not ledger.claim(1)
    ledger.close()
