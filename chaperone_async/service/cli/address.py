"""Where the supervisor may be asked, and the way there. The probes stand on this: it imports next to nothing."""

import socket
from collections.abc import Mapping
from typing import NamedTuple

from chaperone_async.service.cli.outcome import RefusedError, UnreachableError, UsageError

DEFAULT_PORT = 9001
_LOOPBACK = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  who listens everywhere is asked here
_PORTS = {"http": 80, "https": 443}


class Address(NamedTuple):
    """`scheme` is unix (then `host` is the path of the socket), http or https."""

    scheme: str
    host: str
    port: int = 0

    def __str__(self) -> str:
        if self.scheme == "unix":
            return f"unix:{self.host}"
        return f"{self.scheme}://{self.authority}"

    @property
    def authority(self) -> str:
        """For the Host header."""
        if self.scheme == "unix":
            return "localhost"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


DEFAULT = Address("http", "127.0.0.1", DEFAULT_PORT)


def find_addresses(url: str | None, config: str | None, env: Mapping[str, str]) -> list[Address]:
    """Those to try in turn: the given one alone, or else $CHAPERONE_URL's, or else the configuration's and the default.
    Who names a configuration means its supervisor, and no other that happens to be at the default address.

    Raises UsageError, and ConfigError where the configuration that was named cannot be read.
    """
    if url := url or (None if config else env.get("CHAPERONE_URL")):
        return [parse_url(url)]
    from pathlib import Path

    from chaperone_async.system.config.locate import locate_socket

    listeners = locate_socket(Path(config) if config else None, env)
    found = [address for address in map(_parse_listener, listeners) if address is not None]
    return found if config else list(dict.fromkeys((*found, DEFAULT)))


def parse_url(url: str) -> Address:
    """`http://host:port`, `https://host:port` or `unix:/path`. Raises UsageError."""
    scheme, _, rest = url.partition(":")
    if scheme == "unix" and rest.startswith("/"):
        return Address("unix", "/" + rest.lstrip("/"))
    if scheme in _PORTS and rest.startswith("//"):
        host, port = _split_port(rest.removeprefix("//").removesuffix("/"), _PORTS[scheme])
        if host and 0 < port < 1 << 16 and not set(host) & set("/?#@ "):
            return Address(scheme, host, port)
    advice = "write http://127.0.0.1:9001 or unix:/run/chaperone/chaperone.sock"
    raise UsageError(f"cannot ask {url!r}: it is not the address of a supervisor; {advice}")


def _parse_listener(listener: str) -> Address | None:
    """None for what nobody can be asked at: it was not checked before."""
    if listener.startswith("unix:"):
        return Address("unix", listener.removeprefix("unix:"))
    host, port = _split_port(listener, 0)
    return Address("http", _LOOPBACK.get(host, host), port) if 0 < port < 1 << 16 else None


def _split_port(authority: str, default: int) -> tuple[str, int]:
    """Port -1 for what is no port. IPv6 is in brackets."""
    if authority.startswith("["):
        host, _, rest = authority[1:].partition("]")
        if rest and not rest.startswith(":"):
            return host, -1
    else:
        host, _, rest = authority.partition(":")
        rest = rest and f":{rest}"
    digits = rest.removeprefix(":")
    if not rest:
        return host, default
    return host, int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 5 else -1


def dial(addresses: list[Address], timeout: float) -> tuple[socket.socket, Address]:
    """The first that takes a connection. Raises RefusedError where one is there but not for us, UnreachableError."""
    failures: list[str] = []
    refused = False
    for address in addresses:
        try:
            return _connect(address, timeout), address
        except (OSError, ValueError) as error:  # ValueError: a path or name that cannot be one
            refused |= isinstance(error, PermissionError)
            failures.append(f"{address}: {explain(error)}")
    tried = "; ".join(failures)
    if refused:
        raise RefusedError(f"cannot ask the supervisor: {tried}; run this as the user that it runs as")
    raise UnreachableError(f"cannot reach a supervisor: {tried}; start one with `chaperone up`, or name it with --url")


def _connect(address: Address, timeout: float) -> socket.socket:
    if address.scheme != "unix":
        # As bytes, a host name is looked up as it is, without the codec for international names.
        host: str | bytes = address.host.encode() if address.host.isascii() else address.host
        stream = socket.create_connection((host, address.port), timeout)  # type: ignore[arg-type]  # bytes work too
        return stream if address.scheme == "http" else _encrypt(stream, address.host)
    stream = socket.socket(socket.AF_UNIX)
    try:
        stream.settimeout(timeout)
        stream.connect(address.host)
    except BaseException:
        stream.close()
        raise
    return stream


def _encrypt(stream: socket.socket, host: str) -> socket.socket:
    """Trusts what the system trusts; $SSL_CERT_FILE names another certificate authority."""
    import ssl

    return ssl.create_default_context().wrap_socket(stream, server_hostname=host)


def explain(error: OSError | ValueError) -> str:
    """What went wrong on the way, in a few words."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    reason = error.strerror if isinstance(error, OSError) else None
    return (reason or str(error) or type(error).__name__).lower()
