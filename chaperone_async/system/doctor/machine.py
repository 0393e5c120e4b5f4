"""The kernel and the interpreter: what watching, adopting and outliving processes stands on."""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from chaperone_async.system.control_group import read_own
from chaperone_async.system.doctor.finding import Finding
from chaperone_async.system.kin import become_subreaper, children_are_listed

_YEAR_OF_THIS_CODE = 2026
_HIDING = frozenset(
    {"hidepid=1", "hidepid=2", "hidepid=4", "hidepid=noaccess", "hidepid=invisible", "hidepid=ptraceable"}
)


def examine_machine(root: Path = Path("/")) -> Iterator[Finding]:
    yield _kernel()
    yield Finding("python", "ok", f"{sys.version.split()[0]} ({sys.executable})")
    yield _pidfds()
    yield _proc(root)
    yield _children()
    yield _orphans()
    yield _janitor(root)
    yield _clock(root)


def _kernel() -> Finding:
    system = os.uname()
    what = f"{system.sysname} {system.release} {system.machine}"
    if system.sysname == "Linux":
        return Finding("system", "ok", what)
    return Finding("system", "warn", what, "workers run, and less is known of them; Linux gives everything below")


def _pidfds() -> Finding:
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError) as error:
        what = "not a Linux" if isinstance(error, AttributeError) else (error.strerror or str(error)).lower()
        return Finding(
            "pidfd", "warn", what, "a thread waits for each worker; Linux 5.3 has pidfds, seccomp may hide them"
        )
    return Finding("pidfd", "ok", "exits are told by the kernel, without a thread per worker")


def _proc(root: Path) -> Finding:
    try:
        mounts = read_own("mountinfo", root)
    except OSError:
        advice = "memory and CPU of workers are not known, nor is what they leave behind; mount /proc"
        return Finding("/proc", "warn", "not mounted", advice)
    options = {option for line in mounts.splitlines() if " /proc " in line for option in line.split(" ")[-1].split(",")}
    if (hiding := options & _HIDING) and os.geteuid():
        advice = "workers of other users are not seen; run as root, or mount /proc without it"
        return Finding("/proc", "warn", f"mounted with {min(hiding)}", advice)
    return Finding(
        "/proc", "ok", f"mounted with {min(hiding)}, which root sees past" if hiding else "mounted, all is visible"
    )


def _children() -> Finding:
    if children_are_listed():
        return Finding("children", "ok", "the kernel lists them: what a dead worker leaves is found at once")
    advice = "the process table is scanned at each exit instead; CONFIG_PROC_CHILDREN gives the list"
    return Finding("children", "warn", "the kernel does not list them", advice)


def _orphans() -> Finding:
    try:
        give_up = become_subreaper()
    except OSError as error:
        advice = "what leaves a worker's session may outlive it; run the supervisor as PID 1"
        return Finding("orphans", "warn", f"cannot be adopted ({error})", advice)
    give_up()
    return Finding("orphans", "ok", "adopted and reaped, as PID 1 or as a child subreaper")


def _janitor(root: Path) -> Finding:
    if not os.access(sys.executable, os.X_OK):
        advice = "workers would outlive a killed supervisor; install Python where it can be started"
        return Finding("janitor", "warn", f"cannot be started: {sys.executable!r} is not executable", advice)
    if not (root / "proc/self/environ").exists():
        advice = "of a killed supervisor's workers only the sessions are killed, not what has left them; mount /proc"
        return Finding("janitor", "warn", "sees no process's environment", advice)
    return Finding("janitor", "ok", "workers die with the supervisor, even with a killed one")


def _clock(root: Path) -> Finding:
    resolution = time.get_clock_info("monotonic").resolution
    try:
        source = (root / "sys/devices/system/clocksource/clocksource0/current_clocksource").read_text().strip()
    except OSError:
        source = "source unknown"
    what = f"monotonic to {resolution:g} s ({source})"
    if time.gmtime().tm_year < _YEAR_OF_THIS_CODE:
        advice = "only the times that are shown are wrong; set the clock"
        return Finding("clock", "warn", f"{what}; it is the year {time.gmtime().tm_year}", advice)
    return Finding("clock", "ok", what)
