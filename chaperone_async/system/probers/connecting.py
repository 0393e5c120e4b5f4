"""What the checks that open a connection have in common: where to, how, and what a failure says about the worker."""

import asyncio
import errno
import re
import socket
import ssl
from collections.abc import Sequence
from typing import Any, NoReturn

from chaperone_async.core.events import WorkerRef
from chaperone_async.core.expand import placeholders
from chaperone_async.core.spec import PoolSpec
from chaperone_async.errors import ConfigError
from chaperone_async.system.ports import Verdict

Address = tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[Any, ...]]
"""As getaddrinfo gives them."""

_ADDRESS = re.compile(r"(?:\[(?P<bracketed>[^\[\]]+)\]|(?P<host>[^\[\]:]+)):(?P<port>\d+)")
_OURS = frozenset(
    {
        errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EACCES,
        errno.EPERM,
    }
)  # fmt: skip


def split_address(address: str) -> tuple[str, int]:
    """`host:port` or `[::1]:port`. Raises ValueError."""
    match = _ADDRESS.fullmatch(address)
    if match is None or not 0 < int(match["port"]) < 1 << 16:
        raise ValueError(f"{address!r} is no address; write host:port, such as 127.0.0.1:8080 or [::1]:8080")
    host = match["bracketed"] or match["host"]
    try:
        host.encode("idna")  # as a lookup will
    except UnicodeError:
        raise ValueError(f"{address!r} is no address: {host!r} cannot be a host's name") from None
    return host, int(match["port"])


def sample_values(spec: PoolSpec) -> dict[str, str]:
    """What placeholders may become at most, to try a template out before any worker lives."""
    last = max(spec.workers, spec.max_workers or 0, 1) - 1
    return placeholders(spec, WorkerRef(spec.name, last, 1), f"{spec.name}-000000")


def refuse(spec: PoolSpec, check: str, why: str) -> NoReturn:
    raise ConfigError([f"cannot check pool {spec.name!r} by {check}: {why}"])


async def look_up(host: str, port: int) -> Sequence[Address]:
    """A number is read here: the threads for names may all wait for a name server that does not answer. Raises
    OSError."""
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)


async def connect(addresses: Sequence[Address]) -> socket.socket:
    """To the first that answers. Raises the OSError that tells most: what is wrong on our side hides no other."""
    failure: OSError | None = None
    for family, kind, protocol, _, address in addresses:
        try:
            return await _connect(socket.socket(family, kind, protocol), address)
        except OSError as error:
            if failure is None or failure.errno in _OURS:
                failure = error
    raise failure or OSError("the name has no address")


async def _connect(connection: socket.socket, address: tuple[Any, ...]) -> socket.socket:
    try:
        connection.settimeout(0)
        await asyncio.get_running_loop().sock_connect(connection, address)
    except BaseException:
        connection.close()
        raise
    return connection


def unverified() -> ssl.SSLContext:
    """For who asks whether somebody answers, not who it is."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def judge(error: OSError) -> Verdict:
    """A worker that refuses or drops a connection fails; what went wrong on our side says nothing about it."""
    if isinstance(error, ConnectionRefusedError):
        return Verdict(passed=False, detail="connection refused")
    if isinstance(error, ConnectionResetError | BrokenPipeError):
        return Verdict(passed=False, detail="connection reset")
    if isinstance(error, socket.gaierror):
        return Verdict(passed=None, detail=f"cannot look up the host: {error.strerror}")
    if isinstance(error, ssl.SSLError):  # before `errno`, which counts differently in it
        return Verdict(passed=False, detail=f"tls: {error.reason or error}")
    if error.errno in _OURS:
        return Verdict(passed=None, detail=f"cannot connect: {error.strerror}")
    return Verdict(passed=False, detail=error.strerror or str(error))


def unusable(address: ValueError) -> Verdict:
    """Tried out when the pool was made, but scaled beyond since: a port of `80{slot}` ends somewhere."""
    return Verdict(passed=None, detail=str(address))


def not_looked_up(host: str, seconds: float) -> Verdict:
    return Verdict(passed=None, detail=f"the host {host!r} was not looked up within {seconds:g} s")


def no_answer(seconds: float) -> Verdict:
    return Verdict(passed=False, detail=f"no answer within {seconds:g} s")
