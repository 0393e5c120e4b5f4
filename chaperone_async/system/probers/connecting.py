"""What the checks that open a connection have in common: where to, how, and what a failure says about the worker."""

import asyncio
import errno
import re
import socket
import ssl
from typing import NoReturn

from chaperone_async.core.events import WorkerRef
from chaperone_async.core.expand import placeholders
from chaperone_async.core.spec import PoolSpec
from chaperone_async.errors import ConfigError
from chaperone_async.system.ports import Verdict

_ADDRESS = re.compile(r"(?:\[(?P<bracketed>[^\[\]]+)\]|(?P<host>[^\[\]:]+)):(?P<port>\d+)")
_OURS = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EADDRNOTAVAIL, errno.EACCES, errno.EPERM}
)


def split_address(address: str) -> tuple[str, int]:
    """`host:port` or `[::1]:port`. Raises ValueError."""
    match = _ADDRESS.fullmatch(address)
    if match is None or not 0 < int(match["port"]) < 1 << 16:
        raise ValueError(f"{address!r} is no address; write host:port, such as 127.0.0.1:8080 or [::1]:8080")
    return match["bracketed"] or match["host"], int(match["port"])


def sample_values(spec: PoolSpec) -> dict[str, str]:
    """What placeholders may become at most, to try a template out before any worker lives."""
    last = max(spec.workers, spec.max_workers or 0, 1) - 1
    return placeholders(spec, WorkerRef(spec.name, last, 1), f"{spec.name}-000000")


def refuse(spec: PoolSpec, check: str, why: str) -> NoReturn:
    raise ConfigError([f"cannot check pool {spec.name!r} by {check}: {why}"])


async def connect(host: str, port: int) -> socket.socket:
    """To the first of the host's addresses that answers. Raises the last one's OSError."""
    loop = asyncio.get_running_loop()
    failure: OSError | None = None
    for family, kind, protocol, _, address in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(0)
            await loop.sock_connect(connection, address)
        except OSError as error:
            connection.close()
            failure = error
        except BaseException:
            connection.close()
            raise
        else:
            return connection
    raise failure or OSError(f"the name {host!r} has no address")


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


def no_answer(seconds: float) -> Verdict:
    return Verdict(passed=False, detail=f"no answer within {seconds:g} s")
