"""Who may do what, as one pure function.

| access | unix socket | TCP with credentials | TCP without, all listeners loopback | TCP without, others |
| --- | --- | --- | --- | --- |
| open | yes | yes | yes | yes |
| read | yes | who shows them | to a loopback Host | yes |
| change | yes | who shows them, same origin | to a loopback Host, same origin | no |

Over the unix socket the permissions of its file have decided: who may not write to it cannot connect.
"""

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Literal
from urllib.parse import urlsplit

from chaperone_async.service.http.access import Refuted, Verified

AccessClass = Literal["open", "read", "change"]
"""`open`: to anybody, and whatever the query says is tolerated, as befits probes."""
Transport = Literal["unix", "tcp"]


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """What is the same for all requests. `loopback_only`: no TCP listener can be reached from another machine."""

    credentials: bool
    loopback_only: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One request, as far as its permission goes; the last three are its headers.

    `shown`: what came of the credentials; they need not be looked at where none are configured, nor for `open`.
    """

    access: AccessClass
    transport: Transport
    shown: Verified | Refuted | None = None
    host: str | None = None
    origin: str | None = None
    fetch_site: str | None = None


@dataclass(frozen=True, slots=True)
class Allowed:
    pass


@dataclass(frozen=True, slots=True)
class Refusal:
    status: Literal[401, 403]
    why: str


def decide(visit: Visit, house: House) -> Allowed | Refusal:
    if visit.access == "open" or visit.transport == "unix":
        return Allowed()
    if house.credentials and not isinstance(visit.shown, Verified):
        return Refusal(401, visit.shown.why if visit.shown else "credentials are needed")
    if not house.credentials and house.loopback_only and not _is_loopback(visit.host):
        return Refusal(403, _rebound(visit.host))
    if visit.access == "read":
        return Allowed()
    if not house.credentials and not house.loopback_only:
        return Refusal(403, NOT_FROM_HERE)
    stranger = _stranger(visit)
    return Allowed() if stranger is None else Refusal(403, stranger)


NOT_FROM_HERE = (
    "changes are refused over TCP, because other machines can reach this address and no credentials are configured; "
    "configure http.token or http.users, listen on 127.0.0.1 only, or use the unix socket"
)


def _rebound(host: str | None) -> str:
    """DNS rebinding: a page of evil.example, whose name suddenly means 127.0.0.1, reads and posts as if from here."""
    return (
        f"the Host header says {(host or '')[:100]!r}, and only this machine's own loopback addresses are served here; "
        "ask for localhost or 127.0.0.1, or configure http.token or http.users"
    )


def _is_loopback(host: str | None) -> bool:
    name = _authority(host, "http")
    if name is None:
        return False
    if name[0] == "localhost":
        return True
    try:
        return ip_address(name[0]).is_loopback
    except ValueError:
        return False


def _stranger(visit: Visit) -> str | None:
    """Cross-site request forgery: a browser sends the credentials it knows with whatever any page makes it send."""
    if visit.fetch_site in {"cross-site", "same-site"}:
        return f"a page of another origin asked for this (Sec-Fetch-Site: {visit.fetch_site}); only our own pages may"
    if visit.origin is None:
        return None  # no browser
    scheme = visit.origin.partition("://")[0]
    own = _authority(visit.host, scheme)
    # Of the scheme only what it means for the port: a proxy may speak HTTPS for us.
    if scheme in {"http", "https"} and own is not None and _authority(visit.origin[len(scheme) + 3 :], scheme) == own:
        return None
    return f"a page of {visit.origin[:100]!r} asked for this, which is not the Host it was asked of; only our own may"


def _authority(text: str | None, scheme: str) -> tuple[str, int] | None:
    """Host and port; None for what is not `host`, `host:port` or `[v6]:port`."""
    if not text or any(sign in text for sign in "/?#@\\") or not text.isprintable():
        return None
    try:
        parts = urlsplit(f"//{text}")
        port = parts.port
    except ValueError:
        return None
    if not parts.hostname:
        return None
    return parts.hostname, port if port is not None else 443 if scheme == "https" else 80
