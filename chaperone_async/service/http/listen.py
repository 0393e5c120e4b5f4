"""Listening sockets, bound before any worker starts: all of the addresses, or none and a ListenError saying why."""

import errno
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol

from chaperone_async.errors import ListenError
from chaperone_async.service.http.unix_socket import UnixAddress, bind_unix

BACKLOG = 512
UNIX = "unix:"
_UNPRIVILEGED = 1024

Socket = socket.socket


class Listener(Protocol):
    """One listening socket. `address` is text for the log, with the real port."""

    @property
    def address(self) -> str: ...
    @property
    def socket(self) -> Socket: ...
    @property
    def is_unix(self) -> bool: ...
    def close(self) -> None:
        """Idempotent. A unix socket's path is removed if it is still ours."""


@dataclass(frozen=True, slots=True)
class TcpListener:
    socket: Socket
    address: str
    is_unix: bool = False

    def close(self) -> None:
        self.socket.close()


@dataclass(frozen=True, slots=True)
class UnixListener:
    socket: Socket
    address: str
    place: UnixAddress
    is_unix: bool = True

    def close(self) -> None:
        """The path goes first, while its inode cannot be another's; the lock last."""
        if self.socket.fileno() == -1:
            return
        self.place.remove()
        self.socket.close()
        self.place.unlock()


def loopback_only(listeners: Sequence[Listener]) -> bool:
    """No TCP listener can be reached from another machine."""
    return all(listener.is_unix or _is_loopback(listener.socket) for listener in listeners)


def _is_loopback(bound: Socket) -> bool:
    from ipaddress import ip_address

    host = str(bound.getsockname()[0]).partition("%")[0]
    return ip_address(host).is_loopback


def bind(addresses: Sequence[str], unix_mode: int = 0o600) -> list[Listener]:
    """`host:port` (IPv6 in brackets, port 0: any) or `unix:/path`. Requests wait in the backlog until someone serves
    them. Raises ListenError."""
    with ExitStack() as undo:
        listeners: list[Listener] = []
        for address in addresses:
            for listener in _bind(address, unix_mode):
                undo.callback(listener.close)
                listeners.append(listener)
        undo.pop_all()
        return listeners


def _bind(address: str, unix_mode: int) -> Iterator[Listener]:
    if address.startswith(UNIX):
        bound, place = bind_unix(address.removeprefix(UNIX), unix_mode, BACKLOG)
        yield UnixListener(bound, address, place)
        return
    host, port = _split(address)
    unavailable: OSError | None = None
    some = False
    for family, found in _resolve(address, host, port):
        try:
            bound = _bind_tcp(family, (found[0], port, *found[2:]))
        except OSError as error:
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                raise _refusal(address, port, error) from error
            unavailable = error  # such as ::1 for localhost where IPv6 is off; one of them is enough
            continue
        some = True
        port = bound.getsockname()[1]  # where any port will do, a host's addresses share it
        yield TcpListener(bound, _text(bound))
    if not some and unavailable is not None:
        raise _refusal(address, port, unavailable) from unavailable


def _split(address: str) -> tuple[str, int]:
    host, colon, port = address.rpartition(":")
    if not colon or not host or not (port.isascii() and port.isdigit() and len(port) <= 5) or int(port) > 65535:
        raise ListenError(f"cannot listen on {address}: it is not an address; write 127.0.0.1:9001 or unix:/path")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _resolve(address: str, host: str, port: int) -> list[tuple[socket.AddressFamily, tuple[str, int, int, int]]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        why = f"{host!r} cannot be resolved ({error})"
        help_ = "use an address of this machine such as 127.0.0.1, or 0.0.0.0 for all"
        raise ListenError(f"cannot listen on {address}: {why}; {help_}") from error
    # typeshed also knows addresses of systems without IPv6, which are of another shape
    return list(dict.fromkeys((family, place) for family, _, _, _, place in found))  # type: ignore[misc]


def _bind_tcp(family: socket.AddressFamily, place: tuple[str | int, ...]) -> socket.socket:
    with ExitStack() as undo:
        bound = undo.enter_context(socket.socket(family, socket.SOCK_STREAM))
        bound.settimeout(0)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:  # [::] means IPv6, whatever the system's default: 0.0.0.0 can be listed beside it
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(place)
        bound.listen(BACKLOG)
        undo.pop_all()
        return bound


def _text(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"[{host}]:{port}" if bound.family == socket.AF_INET6 else f"{host}:{port}"


def _refusal(address: str, port: int, error: OSError) -> ListenError:
    match error.errno:
        case errno.EADDRINUSE:
            why = "the port is taken by another program"
            help_ = "stop that one, or choose another port in http.listen"
        case errno.EACCES | errno.EPERM if port < _UNPRIVILEGED:
            why = f"ports under {_UNPRIVILEGED} are for privileged programs"
            help_ = f"choose one from {_UNPRIVILEGED} up, or grant CAP_NET_BIND_SERVICE"
        case errno.EADDRNOTAVAIL | errno.EAFNOSUPPORT:
            why = "this machine has no such address"
            help_ = "use 127.0.0.1 for this machine only, or 0.0.0.0 for all its addresses"
        case _:
            why = os.strerror(error.errno or 0).lower()
            help_ = "choose another address in http.listen"
    return ListenError(f"cannot listen on {address}: {why}; {help_}")
