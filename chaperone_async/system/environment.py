"""The environment of a worker, and the user it runs as."""

import grp
import os
import pwd
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from chaperone_async.core.spec import Launch
from chaperone_async.system.ports import SpawnError

_NOT_INHERITED = frozenset({b"NOTIFY_SOCKET", b"WATCHDOG_USEC", b"WATCHDOG_PID", b"CHAPERONE_TOKEN"})
"""Meant for the supervisor itself: its own service manager's socket, and its secret."""

HIGHEST_ID = (1 << 32) - 2
"""Of users and groups: to the kernel the next one means no change, so that root would stay root."""

_ASSIGNMENT = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_.]*)\s*=\s*(.*?)\s*$", re.DOTALL)
_SINGLE = re.compile(r"'([^']*)'\s*(?:#.*)?$")
_DOUBLE = re.compile(r'"((?:[^"\\]|\\.)*)"\s*(?:#.*)?$')
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a worker runs as. `switch` is false where the supervisor already is that user."""

    uid: int
    gid: int
    groups: tuple[int, ...] | None  # None: the supervisor's own
    user: pwd.struct_passwd | None
    switch: bool


def find_identity(launch: Launch) -> Identity:
    """Raises SpawnError for an unknown user or group, and for a number that none can have."""
    uid, gid = os.geteuid(), os.getegid()
    if launch.user is None and launch.group is None:
        return Identity(uid, gid, None, None, switch=False)
    own = (uid, gid)
    user, groups = None, None
    if launch.user is not None:
        uid, user = _find_user(launch.user)
        gid = user.pw_gid if user else gid
    if launch.group is not None:
        gid = _find_group(launch.group)
    if launch.user is not None:
        groups = tuple(os.getgrouplist(user.pw_name, gid)) if user else (gid,)
    already = own[0] != 0 and own == (uid, gid)  # only root could set the groups again
    return Identity(uid, gid, groups, user, switch=not already)


def _find_user(name: str) -> tuple[int, pwd.struct_passwd | None]:
    try:
        user = pwd.getpwuid(_number("user", name)) if name.isdecimal() else pwd.getpwnam(name)
    except KeyError:
        if name.isdecimal():  # a number needs no name: images often run as 1000 without an entry
            return int(name), None
        raise SpawnError(
            f"cannot run as user {name!r}: no such user; name one of the system's users, or a number"
        ) from None
    return user.pw_uid, user


def _find_group(name: str) -> int:
    if name.isdecimal():
        return _number("group", name)
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise SpawnError(
            f"cannot run as group {name!r}: no such group; name one of the system's groups, or a number"
        ) from None


def _number(kind: str, name: str) -> int:
    number = int(name)
    if number > HIGHEST_ID:
        raise SpawnError(f"cannot run as {kind} {name!r}: no {kind} can have this number; the highest is {HIGHEST_ID}")
    return number


def inherited_environment() -> dict[bytes, bytes]:
    """The supervisor's own, as it is now. In bytes, as the system wants it: decoding and encoding it for each worker
    would be a fifth of the cost of a start."""
    return {name: value for name, value in os.environb.items() if name not in _NOT_INHERITED}


def build_environment(
    launch: Launch, identity: Identity, given: Mapping[str, str], inherited: Mapping[bytes, bytes] | None = None
) -> dict[bytes, bytes]:
    """What is inherited, the user's, `env_file`, `env`, and last what every worker is given. Raises SpawnError."""
    added: dict[str, str] = {}
    if identity.user is not None:
        added |= {
            "HOME": identity.user.pw_dir,
            "USER": identity.user.pw_name,
            "LOGNAME": identity.user.pw_name,
        }
    if launch.env_file is not None:
        added |= _read_env_file(launch.env_file)
    added |= launch.env
    added |= given
    if inherited is None:
        inherited = inherited_environment()
    return {**inherited, **{os.fsencode(name): os.fsencode(value) for name, value in added.items()}}


def _read_env_file(name: str) -> dict[str, str]:
    try:
        text = Path(name).read_text(encoding="utf-8")
    except OSError as error:
        cause = error.strerror or str(error)
        raise SpawnError(f"cannot read env_file {name!r}: {cause.lower()}; give a file of KEY=VALUE lines") from error
    except UnicodeDecodeError as error:
        raise SpawnError(f"cannot read env_file {name!r}: it is not UTF-8 text; give KEY=VALUE lines") from error
    try:
        return parse_env_file(text)
    except ValueError as error:
        raise SpawnError(f"cannot read env_file {name!r}: {error}; write KEY=VALUE") from error


def parse_env_file(text: str) -> dict[str, str]:
    """`KEY=VALUE` lines, `export` allowed; 'single' quotes are literal, "double" ones know backslash escapes.

    A comment is a line starting with #, or follows a value after a blank. Raises ValueError naming the line.
    """
    values = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        assignment = _ASSIGNMENT.match(line)
        if assignment is None:
            raise ValueError(f"line {number} is no assignment")
        try:
            values[assignment[1]] = _unquote(assignment[2])
        except ValueError as error:
            raise ValueError(f"line {number} {error}") from None
    return values


def _unquote(value: str) -> str:
    if value[:1] == "'" and (quoted := _SINGLE.match(value)):
        return quoted[1]
    if value[:1] == '"' and (quoted := _DOUBLE.match(value)):
        return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match[1], match[1]), quoted[1])
    if value[:1] in ("'", '"'):
        raise ValueError("has a quote that does not end")
    return re.split(r"(?:^|\s)#", value, maxsplit=1)[0].rstrip()
