"""How much there is: memory, processors, processes, descriptors; and whether a kill for want of memory can be told."""

import os
import resource
from collections.abc import Iterator, Sequence
from pathlib import Path

from chaperone_async.core.budget import most_memory
from chaperone_async.core.spec import PoolSpec
from chaperone_async.system.control_group import Allowance, Group, allowance, own_groups, read_own
from chaperone_async.system.doctor.finding import Finding
from chaperone_async.system.exits import locate_oom_counters, parse_oom_kills
from chaperone_async.system.reserve import RESERVE

_PER_WORKER = 3  # descriptors that stay open: pidfd, output, notify socket; statistics take at most a quarter of all
_OURS = 16  # descriptors of the supervisor itself
_OUR_PROCESSES = 8  # with threads, and the janitor
_MANY = 1 << 30


def examine_resources(
    pools: Sequence[PoolSpec], root: Path = Path("/"), budget: int | None = None
) -> Iterator[Finding]:
    """Without pools, what there is is told, and compared with nothing. `budget`: workers of all scaled pools."""
    groups = own_groups(root)
    limits = allowance(groups, root)
    yield _groups(groups)
    yield _oom(root)
    yield _memory(most_memory(pools, budget), limits)
    yield _processors(limits)
    yield _processes(pools, limits)
    yield _descriptors(pools)


def _groups(groups: list[Group]) -> Finding:
    versions = {group.version for group in groups if group.version == 2 or "memory" in group.controllers}
    if not versions:
        advice = "limits of memory, CPU and processes cannot be seen; mount /sys/fs/cgroup"
        return Finding("control groups", "warn", "none to be seen", advice)
    places = ", ".join(str(group.folder) for group in groups if group.version == 2 or "memory" in group.controllers)
    return Finding("control groups", "ok", f"version {' and '.join(map(str, sorted(versions)))}: {places}")


def _oom(root: Path) -> Finding:
    for counter in _counters(root):
        try:
            kills = parse_oom_kills((root / counter.relative_to("/")).read_text())
        except OSError:
            continue
        if kills is not None:
            return Finding("oom", "ok", f"kills for want of memory are counted ({kills} so far): {counter}")
    advice = "such a death is told as `signal` (SIGKILL), not as `oom`; give the container its own cgroup, readable"
    return Finding("oom", "warn", "kills for want of memory are not counted", advice)


def _counters(root: Path) -> list[Path]:
    try:
        return locate_oom_counters(read_own("cgroup", root), read_own("mountinfo", root))
    except OSError:
        return []


def _memory(wanted: int, limits: Allowance) -> Finding:
    there_is = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    usable = there_is if limits.memory is None else min(there_is, limits.memory)
    what = f"{usable / 1e6:.0f} MB, {'no limit' if usable == there_is else 'by the control group'}"
    if wanted > usable:
        advice = f"the workers' memory limits add up to {wanted / 1e6:.0f} MB; lower health.memory_limit or workers"
        return Finding("memory", "warn", what, advice)
    return Finding("memory", "ok", what)


def _processors(limits: Allowance) -> Finding:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if limits.cpus is None:
        return Finding("processors", "ok", f"{usable}, no limit")
    what = f"{usable}, of which the control group gives {limits.cpus:g}"
    if limits.cpus < 0.1:
        return Finding("processors", "warn", what, "probes may be answered late; give a tenth of one or more")
    return Finding("processors", "ok", what)


def _processes(pools: Sequence[PoolSpec], limits: Allowance) -> Finding:
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    of_user = _MANY if soft == resource.RLIM_INFINITY or not os.geteuid() else soft  # root is not held to it
    least = min(of_user, _MANY if limits.processes is None else limits.processes)
    what = (
        "no limit"
        if least == _MANY
        else f"{least} at most, {'per user' if least == of_user else 'by the control group'}"
    )
    needed = _wanted(pools) + _OUR_PROCESSES
    if needed > least:
        return Finding(
            "processes", "fail", what, f"{needed} are needed; raise the limit (pids, LimitNPROC=), or lower workers"
        )
    if 2 * needed > least:
        return Finding(
            "processes", "warn", what, f"little for {_wanted(pools)} workers with processes or threads of their own"
        )
    return Finding("processes", "ok", what)


def _descriptors(pools: Sequence[PoolSpec]) -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        return Finding("descriptors", "ok", f"{soft}, raised as needed, without limit")
    room = max(0, (hard * 3 // 4 - RESERVE - _OURS) // _PER_WORKER)
    what = f"{soft}, raised as needed up to {hard}: enough for about {room} workers"
    if _wanted(pools) > room:
        advice = f"{_wanted(pools)} are configured; raise the hard limit (ulimit -Hn, LimitNOFILE=, --ulimit nofile=)"
        return Finding("descriptors", "fail", what, advice)
    return Finding("descriptors", "ok", what)


def _wanted(pools: Sequence[PoolSpec]) -> int:
    """Workers at once, those that replace others included."""
    most = ((max(pool.workers, pool.max_workers or 0), pool.max_surge) for pool in pools)
    return sum(workers + min(workers, surge) for workers, surge in most)
