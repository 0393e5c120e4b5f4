"""Whether the configured addresses are free, or else who has them."""

import errno
import json
import os
import socket
from collections.abc import Iterator, Sequence
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from chaperone_async.system.doctor.finding import Finding
from chaperone_async.system.doctor.places import is_there, is_writable, nearest
from chaperone_async.system.probers.connecting import unverified

UNIX = "unix:"
_PATIENCE = 2.0
_NOT_OF_THIS_MACHINE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  who listens everywhere is asked here


def examine_listeners(listen: Sequence[str], *, tls: bool = False) -> Iterator[Finding]:
    """`tls`: those for TCP speak HTTPS."""
    for address in listen:
        yield _unix(address) if address.startswith(UNIX) else _tcp(address, tls=tls)


def _tcp(address: str, *, tls: bool) -> Finding:
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        _try_all(host, int(port))
    except UnicodeError as error:  # of a name that no resolver could be asked for
        return _not_to_be_had(address, str(error))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            holder = _supervisor_at(_EVERYWHERE.get(host, host), int(port), tls=tls) or _holder(int(port))
            return _taken(address, holder)
        return _not_to_be_had(address, (error.strerror or str(error)).lower())
    return Finding(address, "ok", "free")


def _not_to_be_had(address: str, why: str) -> Finding:
    return Finding(address, "fail", f"cannot be had: {why}", "choose another address in http.listen")


def _try_all(host: str, port: int) -> None:
    """All that a name has: one is enough where others are not of this machine, such as ::1 where IPv6 is off."""
    some, missing = False, None
    for family, _, _, _, place in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE):
        try:
            _try_bind(family, place)
        except OSError as error:
            if error.errno not in _NOT_OF_THIS_MACHINE:
                raise
            missing = error
        else:
            some = True
    if missing is not None and not some:
        raise missing


def _try_bind(family: socket.AddressFamily, place: tuple[object, ...]) -> None:
    with socket.socket(family, socket.SOCK_STREAM) as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(place)


def _unix(address: str) -> Finding:
    path = Path(address.removeprefix(UNIX))
    if is_there(path) and path.is_socket():
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(_PATIENCE)
            try:
                client.connect(str(path))
            except ConnectionRefusedError:
                return Finding(address, "ok", "free: a socket that nobody serves any more is there, and is replaced")
            except PermissionError:
                return Finding(address, "fail", "somebody's, and not ours to use", "choose another path in http.listen")
            except OSError as error:
                return _taken(address, f"something that does not answer ({error.strerror or 'no answer in time'})")
            return _taken(address, _ask(client) or "something that is no supervisor")
    if is_there(path):
        return Finding(address, "fail", "there is something that is not a socket", "remove it, or choose another path")
    there = nearest(path.parent)
    if is_writable(there):
        return Finding(address, "ok", "free")
    advice = f"make {there} writable for uid {os.geteuid()}, or choose another path in http.listen"
    why = "no permission to write at" if there.is_dir() else "not a directory:"
    return Finding(address, "fail", f"cannot be made: {why} {there}", advice)


def _taken(address: str, by: str) -> Finding:
    if by.startswith("the supervisor"):
        return Finding(address, "ok", f"{by} listens there")
    return Finding(address, "fail", f"taken by {by}", "stop that, or choose another address in http.listen")


def _supervisor_at(host: str, port: int, *, tls: bool) -> str:
    try:
        with socket.create_connection((host, port), _PATIENCE) as client:
            return _ask(unverified().wrap_socket(client) if tls else client)
    except OSError:
        return ""


def _ask(client: socket.socket) -> str:
    """`the supervisor 'orders' (pid 7)`; empty for what is none."""
    connection = HTTPConnection("localhost")
    connection.sock = client
    try:
        connection.request("GET", "/api/v1/status", headers={"Connection": "close"})
        answer = connection.getresponse()
        if 'realm="chaperone"' in answer.headers.get("WWW-Authenticate", ""):
            return "the supervisor, which says more only to those with credentials,"
        status = json.loads(answer.read(1 << 20))
        return f"the supervisor {status['name']!r} (pid {status['pid']})"
    except (OSError, HTTPException, ValueError, KeyError, TypeError):
        return ""


def _holder(port: int) -> str:
    """As far as we may see it: other users' processes are not told to all."""
    import psutil

    try:
        connections = psutil.net_connections("tcp")
        pids = [line.pid for line in connections if line.status == "LISTEN" and line.laddr.port == port and line.pid]
        if pids:
            return f"process {pids[0]} ({psutil.Process(pids[0]).name()})"
    except psutil.Error:
        pass
    return "another program"
