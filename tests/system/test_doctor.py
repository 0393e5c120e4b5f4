"""What the doctor finds: on this machine, on others with other control groups, and at addresses that are taken."""

import os
import resource
import socket
from collections.abc import Iterable
from pathlib import Path
from threading import Thread

import pytest

from chaperone_async.core.spec import HealthPolicy, Launch, LogPolicy, PoolSpec
from chaperone_async.system.control_group import Allowance, allowance, own_groups
from chaperone_async.system.doctor.examine import examine
from chaperone_async.system.doctor.finding import Finding, verdict
from chaperone_async.system.doctor.listening import examine_listeners
from chaperone_async.system.doctor.machine import examine_machine
from chaperone_async.system.doctor.resources import examine_resources
from chaperone_async.system.doctor.rights import examine_rights
from chaperone_async.system.doctor.shutdown import examine_shutdown

V2 = {
    "proc/self/cgroup": "0::/pod/app\n",
    "proc/self/mountinfo": "41 31 0:38 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n",
    "sys/fs/cgroup/pod/memory.max": "200000000\n",
    "sys/fs/cgroup/pod/app/memory.max": "max\n",
    "sys/fs/cgroup/pod/app/memory.events": "low 0\noom 1\noom_kill 2\n",
    "sys/fs/cgroup/pod/app/cpu.max": "5000 100000\n",
    "sys/fs/cgroup/pod/cpu.max": "max 100000\n",
    "sys/fs/cgroup/pod/app/pids.max": "12\n",
}
V1 = {
    "proc/self/cgroup": "5:pids:/docker/1f\n4:memory:/docker/1f\n3:cpu,cpuacct:/docker/1f\n1:name=systemd:/docker/1f\n",
    "proc/self/mountinfo": (
        "35 31 0:32 /docker/1f /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
        "36 31 0:33 /docker/1f /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n"
        "37 31 0:34 /docker/1f /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
        "38 31 0:35 /docker/1f /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"
    ),
    "sys/fs/cgroup/memory/memory.limit_in_bytes": "300000000\n",
    "sys/fs/cgroup/memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
    "sys/fs/cgroup/pids/pids.max": "max\n",
    "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "150000\n",
    "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
}
UNLIMITED_V1 = V1 | {
    "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
    "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
}


def made(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def by_name(findings: Iterable[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


def pool(workers: int = 2, user: str | None = None) -> PoolSpec:
    return PoolSpec(name="a", command=("true",), workers=workers, launch=Launch(user=user))


def test_each_version_of_control_groups_tells_what_it_allows(tmp_path: Path) -> None:
    root = made(tmp_path / "2", V2)
    assert allowance(own_groups(root), root) == Allowance(memory=200_000_000, cpus=0.05, processes=12)
    root = made(tmp_path / "1", V1)
    assert allowance(own_groups(root), root) == Allowance(memory=300_000_000, cpus=1.5)
    root = made(tmp_path / "unlimited", UNLIMITED_V1)
    assert allowance(own_groups(root), root) == Allowance()
    assert own_groups(tmp_path / "none") == []


def test_a_mount_point_that_is_no_text_is_no_obstacle(tmp_path: Path) -> None:
    root = made(tmp_path, V2)
    allowed = allowance(own_groups(root), root)
    with (root / "proc/self/mountinfo").open("ab") as mounts:
        mounts.write(b"51 31 0:48 / /mnt/\xff\r\x0b\x85 rw - tmpfs tmpfs rw\n")
    assert allowance(own_groups(root), root) == allowed
    assert by_name(examine_resources([], root))["oom"].result == "ok"
    assert by_name(examine_machine(root))["/proc"].result == "ok"


def test_limits_of_version_2_are_compared_with_what_the_pools_need(tmp_path: Path) -> None:
    found = by_name(examine_resources([pool(workers=20)], made(tmp_path, V2)))
    assert found["control groups"] == Finding("control groups", "ok", "version 2: /sys/fs/cgroup/pod/app")
    assert (found["memory"].result, found["memory"].found) == ("warn", "200 MB, by the control group")
    assert "add up to 10240 MB" in found["memory"].advice
    assert (found["processes"].result, found["processes"].found) == ("fail", "12 at most, by the control group")
    assert found["processors"].result == "warn"
    assert found["oom"].found.startswith("kills for want of memory are counted (2 so far)")


def test_what_suffices_is_not_complained_about(tmp_path: Path) -> None:
    modest = PoolSpec(name="a", command=("true",), workers=1, health=HealthPolicy(memory_limit=10**8))
    found = examine_resources([modest], made(tmp_path, V1))
    assert {finding.name: finding.result for finding in found} == dict.fromkeys(
        ("control groups", "oom", "memory", "processors", "processes", "descriptors"), "ok"
    )


def test_without_control_groups_it_is_said_what_is_not_known(tmp_path: Path) -> None:
    found = by_name(examine_resources([], tmp_path))
    assert (found["control groups"].result, found["oom"].result) == ("warn", "warn")
    assert "told as `signal`" in found["oom"].advice


@pytest.mark.skipif(resource.getrlimit(resource.RLIMIT_NOFILE)[1] == resource.RLIM_INFINITY, reason="has no limit")
def test_more_workers_than_there_can_be_descriptors_for_fail() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    found = by_name(examine_resources([pool(workers=hard // 3)]))["descriptors"]
    assert (found.result, f"up to {hard}: enough for about" in found.found) == ("fail", True)
    assert by_name(examine_resources([pool(workers=hard // 5)]))["descriptors"].result == "ok"


def test_a_hidden_process_table_is_told(tmp_path: Path) -> None:
    line = "23 28 0:21 / /proc rw,nosuid,relatime shared:12 - proc proc rw,hidepid=invisible\n"
    found = by_name(examine_machine(made(tmp_path, {"proc/self/mountinfo": line})))["/proc"]
    assert (found.result, "hidepid=invisible" in found.found) == ("warn" if os.geteuid() else "ok", True)
    assert by_name(examine_machine(tmp_path / "none"))["/proc"].found == "not mounted"


def test_this_machine_can_run_pools() -> None:
    findings = [*examine_machine(), *examine_resources([pool()]), *examine_rights([pool()])]
    assert [finding for finding in findings if finding.result == "fail"] == []
    assert by_name(findings)["janitor"].result == "ok"
    assert all(finding.advice for finding in findings if finding.result != "ok")


def test_another_user_needs_the_right_to_switch(tmp_path: Path) -> None:
    root = made(tmp_path, {"proc/self/status": "Name:\tx\nCapEff:\t0000000000000000\n"})
    assert by_name(examine_rights([pool()], root))["users"].result == "ok"
    found = by_name(examine_rights([pool(user="12345")], root))["users"]
    assert found.result == "fail"
    assert found.advice.startswith("pool a wants '12345'; run as root")
    root = made(tmp_path, {"proc/self/status": "CapEff:\t00000000000000c0\n"})
    assert by_name(examine_rights([pool()], root))["users"].result == "ok"
    found = by_name(examine_rights([pool(user="12345")], root))["users"]
    assert (found.result, found.advice.endswith("; grant SYS_PTRACE")) == ("warn", True)
    root = made(tmp_path, {"proc/self/status": "CapEff:\t00000000000800c0\n"})
    assert by_name(examine_rights([pool(user="12345")], root))["users"].result == "ok"
    assert "no such user" in by_name(examine_rights([pool(user="no-such-user")], root))["users"].advice


def test_log_directories_must_be_writable_or_possible(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    def judged(path: str) -> Finding:
        logs = LogPolicy(mode="file", path=f"{tmp_path}/{path}")
        return by_name(examine_rights([PoolSpec(name="a", command=("true",), logs=logs)]))["log files"]

    assert judged("{pool}.log").found == f"{tmp_path} is writable"
    assert judged("new/{slot}/x.log").found == f"{tmp_path}/new/0 can be made"
    assert judged("file/x.log").result == "fail"
    assert "file is not a directory" in judged("file/x.log").advice


def test_addresses_are_free_or_say_who_has_them() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        taken.settimeout(0)
        port = taken.getsockname()[1]
        (found,) = examine_listeners([f"127.0.0.1:{port}"])
        assert (found.result, found.found) == ("fail", f"taken by process {os.getpid()} ({process_name()})")
    (found,) = examine_listeners([f"127.0.0.1:{port}"])
    assert (found.result, found.found) == ("ok", "free")
    (found,) = examine_listeners(["192.0.2.1:9001"])
    assert (found.result, found.found) == ("fail", "cannot be had: cannot assign requested address")


def test_a_supervisor_that_wants_credentials_is_known_as_one() -> None:
    refusal = b'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer realm="chaperone"\r\nContent-Length: 0\r\n\r\n'
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()

        def answer() -> None:
            client, _ = taken.accept()
            with client:
                client.recv(4096)
                client.sendall(refusal)

        serving = Thread(target=answer)
        serving.start()
        (found,) = examine_listeners([f"127.0.0.1:{taken.getsockname()[1]}"])
        serving.join()
    assert (found.result, found.found.partition(",")[0]) == ("ok", "the supervisor")


def process_name() -> str:
    return Path("/proc/self/comm").read_text().strip()


def test_a_name_that_cannot_be_asked_for_is_a_finding() -> None:
    (found,) = examine_listeners(["127.0.0..1:9001"])
    assert (found.result, found.found[:15]) == ("fail", "cannot be had: ")


def test_one_address_of_a_name_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    def addresses(_host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        nobodys = ("2001:db8::1", port, 0, 0)  # of the documentation
        missing: tuple[object, ...] = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", nobodys)
        return [missing, (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))][: 2 - (port == 1)]

    monkeypatch.setattr(socket, "getaddrinfo", addresses)
    assert [one.result for one in examine_listeners(["here:0", "here:1"])] == ["ok", "fail"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_what_lies_behind_a_closed_door_is_a_finding(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    for place in (tmp_path, *tmp_path.parents[:-1]):
        place.chmod(place.stat().st_mode | 0o011)
    logs = LogPolicy(mode="file", path=f"{closed}/further/a.log")
    os.seteuid(65534)
    try:
        (listener,) = examine_listeners([f"unix:{closed}/further/socket"])
        written = by_name(examine_rights([PoolSpec(name="a", command=("true",), logs=logs)]))["log files"]
    finally:
        os.seteuid(0)
    assert (listener.result, listener.found) == ("fail", f"cannot be made: no permission to write at {closed}")
    assert (written.result, written.found) == ("fail", f"{closed}/further cannot be written to")


def test_socket_paths_are_free_or_say_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "s"
    assert [one.found for one in examine_listeners([f"unix:{path}", f"unix:{tmp_path}/new/s"])] == ["free", "free"]
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen(0)
        server.close()
    (stale,) = examine_listeners([f"unix:{path}"])
    assert (stale.result, stale.found) == ("ok", "free: a socket that nobody serves any more is there, and is replaced")
    (tmp_path / "file").touch()
    file, below = examine_listeners([f"unix:{tmp_path}/file", f"unix:{tmp_path}/file/s"])
    assert (file.result, file.found) == ("fail", "there is something that is not a socket")
    assert (below.result, below.found) == ("fail", f"cannot be made: not a directory: {tmp_path}/file")


@pytest.mark.parametrize(
    ("grace", "env", "mark", "reclaims", "result"),
    [
        (30, {}, "", True, "ok"), (9, {}, ".dockerenv", False, "ok"), (10, {}, ".dockerenv", False, "warn"),
        (9, {}, ".dockerenv", True, "warn"), (30, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "", False, "warn"),
        (25, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, ".dockerenv", False, "ok"),
        (25, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, ".dockerenv", True, "warn"),
    ],
)  # fmt: skip
def test_the_grace_is_held_against_what_a_container_usually_gets(
    tmp_path: Path, grace: float, env: dict[str, str], mark: str, reclaims: bool, result: str
) -> None:
    root = made(tmp_path, {mark: ""} if mark else {})
    assert examine_shutdown(grace, env, root, reclaims=reclaims).result == result


def test_the_time_in_which_the_last_jobs_are_put_back_is_part_of_what_a_unit_needs() -> None:
    finding = examine_shutdown(25, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, reclaims=True)
    assert finding.found == "shutdown.grace is 25 s, and up to 5 s more put the last jobs back"
    assert finding.advice.endswith("give more than 30 s")


def test_a_configuration_that_cannot_be_used_is_a_finding_among_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made(tmp_path, {"bad.toml": "workers = 2\nx = 1"})
    first, *others = examine(tmp_path / "bad.toml", {})
    assert (first.name, first.result) == ("configuration", "fail")
    assert "workers: unknown key" in first.found
    assert "and 2 more" in first.found
    assert len(others) > 10
    assert examine(None, {})[0].result == "warn"


def test_the_worst_finding_is_the_verdict() -> None:
    ok, warn, fail = (Finding("x", result, "") for result in ("ok", "warn", "fail"))
    assert [verdict([ok]), verdict([ok, warn]), verdict([warn, fail, ok])] == ["ok", "warn", "fail"]
