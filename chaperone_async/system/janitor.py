"""Death with the supervisor: a small program that outlives it for as long as it takes to kill what it left running.

Runs by itself, `python -I -S janitor.py TOKEN`, with a pipe from the supervisor as standard input and every signal
blocked. It therefore imports almost nothing (no `signal`, no `typing`: 10 ms and 1 MB each) and nothing of ours; how it
reads the process table serves the supervisor's own sweeping too.

    +1234\\n   the session 1234 is a worker's       -1234\\n   no longer       end of file   the supervisor is dead

Only a program of its own is told of every way to die, SIGKILL included. PR_SET_PDEATHSIG would need a hook between fork
and exec, is cleared by set-user-id programs and covers no grandchild.
"""

import os
import sys
import time

SIGKILL = 9
ROUND = 0.02  # seconds between two scans
QUIET_ROUNDS = 3  # scans in a row that must find nothing: a process seen by none of them is not being forked any more
LIMIT = 5.0  # seconds; what survives SIGKILL for so long is beyond killing
LEAST_ROUNDS = 50  # however long they take: this program itself may have been suspended

KERNEL = (0, 2)  # the parents of init and of kernel threads
TOKEN_VARIABLE = "CHAPERONE_SUPERVISOR"  # noqa: S105  the name of an environment variable

Stat = tuple[int, int, str]
"""Parent, session and state letter of a process."""


def read_stat(pid: int) -> Stat | None:
    """None for a process that is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:  # noqa: PTH123  pathlib is too heavy for this program
            text = file.read(1024)
    except OSError:
        return None
    state, parent, _group, session = text[text.rindex(b")") + 2 :].split(b" ", 4)[:4]
    return int(parent), int(session), state.decode()


def read_environ(pid: int) -> bytes:
    """`NAME=value` entries, each ended by a zero byte; empty where there is none or it may not be read."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123  as above
            return b"\0" + file.read()
    except OSError:
        return b""


def read_settled_environ(pid: int) -> bytes | None:
    """None between two programs: in the middle of an exec the kernel shows neither arguments nor environment, and
    nothing tells whose the process is. A zombie and a thread of the kernel never show any."""
    environ = read_environ(pid)
    if len(environ) > 1:
        return environ
    return read_environ(pid) if _has_arguments(pid) else None  # again: the exec may have ended meanwhile


def _has_arguments(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:  # noqa: PTH123  as above
            return bool(file.read(1))
    except OSError:
        return False


def read_table() -> dict[int, Stat]:
    """Every process of the machine; empty where there is no /proc."""
    try:
        names = os.listdir("/proc")  # noqa: PTH208  as above
    except OSError:
        return {}
    table = {}
    for name in names:
        if name.isdigit() and (stat := read_stat(int(name))):
            table[int(name)] = stat
    return table


def find_kin(table: dict[int, Stat], roots: set[int]) -> set[int]:
    """The roots and all their descendants."""
    children: dict[int, list[int]] = {}
    for pid, (parent, _, _) in table.items():
        children.setdefault(parent, []).append(pid)
    kin, pending = set(roots), list(roots)
    while pending:
        born = [pid for pid in children.get(pending.pop(), ()) if pid not in kin]
        kin.update(born)
        pending.extend(born)
    return kin


def kill_round(sessions: set[int], mark: bytes) -> bool:
    """Kill all that is in these sessions or carries the mark, and their descendants; False when none was alive, and
    none could be one."""
    table = read_table()
    roots, undecided = set(), False
    for pid, (parent, session, state) in table.items():
        if session in sessions:
            roots.add(pid)
        elif state not in "ZX" and parent not in KERNEL:
            environ = read_settled_environ(pid)
            undecided |= environ is None
            if environ is not None and mark in environ:
                roots.add(pid)
    doomed = find_kin(table, roots - {os.getpid()})
    for pid in doomed:
        kill(pid)
    return undecided or any(table[pid][2] not in "ZX" for pid in doomed)


def kill(pid: int) -> None:
    try:
        os.kill(pid, SIGKILL)
    except OSError:
        return  # gone already, or a set-user-id program: nothing that a scan later would not see again


def kill_all(sessions: set[int], mark: bytes) -> None:
    for session in sessions:  # at once, and all there is to do without /proc
        try:
            os.killpg(session, SIGKILL)
        except OSError:
            continue
    deadline = time.monotonic() + LIMIT
    rounds = quiet = 0
    while quiet < QUIET_ROUNDS and (rounds < LEAST_ROUNDS or time.monotonic() < deadline):
        rounds += 1
        quiet = 0 if kill_round(sessions, mark) else quiet + 1
        time.sleep(ROUND)


def main(token: str) -> None:
    sessions: set[int] = set()
    rest = b""
    while chunk := os.read(0, 1 << 16):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            change = sessions.add if line[:1] == b"+" else sessions.discard
            change(int(line[1:]))
    kill_all(sessions, f"\0{TOKEN_VARIABLE}={token}\0".encode())


if __name__ == "__main__":
    main(sys.argv[1])
