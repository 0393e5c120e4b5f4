"""Whether the configured addresses are free, or else who has them."""

import errno
import json
import os
import socket
from collections.abc import Iterator, Sequence
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from chaperone_async.system.doctor.finding import Finding

UNIX = "unix:"
_PATIENCE = 2.0
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  who listens everywhere is asked here


def examine_listeners(listen: Sequence[str]) -> Iterator[Finding]:
    for address in listen:
        yield _unix(address) if address.startswith(UNIX) else _tcp(address)


def _tcp(address: str) -> Finding:
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        places = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, _, _, _, place in places:
            _try_bind(family, place)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return _taken(address, _supervisor_at(_EVERYWHERE.get(host, host), int(port)) or _holder(int(port)))
        why = (error.strerror or str(error)).lower()
        return Finding(address, "fail", f"cannot be had: {why}", "choose another address in http.listen")
    return Finding(address, "ok", "free")


def _try_bind(family: socket.AddressFamily, place: tuple[object, ...]) -> None:
    with socket.socket(family, socket.SOCK_STREAM) as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(place)


def _unix(address: str) -> Finding:
    path = Path(address.removeprefix(UNIX))
    if path.is_socket():
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
    if path.exists():
        return Finding(address, "fail", "there is something that is not a socket", "remove it, or choose another path")
    there = next(place for place in path.parents if place.exists())
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return Finding(address, "ok", "free")
    advice = f"make {there} writable for uid {os.geteuid()}, or choose another path in http.listen"
    why = "no permission to write at" if there.is_dir() else "not a directory:"
    return Finding(address, "fail", f"cannot be made: {why} {there}", advice)


def _taken(address: str, by: str) -> Finding:
    if by.startswith("the supervisor"):
        return Finding(address, "ok", f"{by} listens there")
    return Finding(address, "fail", f"taken by {by}", "stop that, or choose another address in http.listen")


def _supervisor_at(host: str, port: int) -> str:
    try:
        with socket.create_connection((host, port), _PATIENCE) as client:
            return _ask(client)
    except OSError:
        return ""


def _ask(client: socket.socket) -> str:
    """`the supervisor 'orders' (pid 7)`; empty for what is none, or speaks TLS."""
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
