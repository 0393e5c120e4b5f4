"""The http check: one GET; by the kubelet's rule a status from 200 to 399 passes. Redirects are not followed."""

import asyncio
import re
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

import anyio

from chaperone_async.core.events import WorkerRef
from chaperone_async.core.expand import expand, placeholders
from chaperone_async.core.spec import PoolSpec
from chaperone_async.system.ports import Verdict
from chaperone_async.system.probers.connecting import (
    connect,
    judge,
    look_up,
    no_answer,
    not_looked_up,
    refuse,
    sample_values,
    unusable,
    unverified,
)

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})(?: [^\r\n]*)?\r?\n")
_MOST_READ = 4096
_LINGER = 0.2  # seconds the rest of an answer is listened to, so that its sender meets no reset connection
_KEPT_IN_PATHS = "/%:@!$&'()*+,;=~-._?"  # what may stand in a path or query as it is


@dataclass(frozen=True, slots=True)
class _Target:
    host: str
    port: int
    tls: bool
    request: bytes


class HttpProber:
    """As with the kubelet, certificates are not verified: the question is whether the worker lives, not who it is."""

    check = "http"

    def __init__(self, spec: PoolSpec, url: str) -> None:
        self._spec = spec
        self._url = url
        try:
            target = try_out(spec, url)
        except ValueError as error:
            refuse(spec, "http", str(error))
        self._tls = unverified() if target.tls else None

    async def probe(self, ref: WorkerRef, worker_id: str, pid: int) -> Verdict:  # noqa: ARG002  the port's signature
        try:
            target = _parse(expand(self._url, placeholders(self._spec, ref, worker_id)))
        except ValueError as error:
            return unusable(error)
        return await self._ask(target)

    async def _ask(self, target: _Target) -> Verdict:
        timeout = self._spec.health.timeout
        verdict = not_looked_up(target.host, timeout)
        with anyio.move_on_after(timeout):
            try:
                addresses = await look_up(target.host, target.port)
                verdict = no_answer(timeout)
                connection = await connect(addresses)
                reader, writer = await asyncio.open_connection(
                    sock=connection,
                    ssl=self._tls,
                    server_hostname=target.host if self._tls else None,
                    limit=_MOST_READ,
                )
            except OSError as error:
                return judge(error)
            try:
                writer.write(target.request)
                verdict = await _read_verdict(reader)
                await _let_end(reader)
            finally:
                writer.transport.abort()  # nothing is owed: no waiting for the other side's goodbye
        return verdict


def try_out(spec: PoolSpec, url: str) -> _Target:
    """Raises ValueError, saying what would be valid."""
    return _parse(expand(url, sample_values(spec)))


def _parse(url: str) -> _Target:
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError as error:
        raise ValueError(f"{url!r} is no web address: {str(error).lower()}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r} is no web address; write one such as http://127.0.0.1:8080/health")
    if parts.username is not None:
        raise ValueError("the address carries credentials; leave them out, or use an exec check that sends them")
    host = parts.hostname.encode("idna").decode()
    name = f"[{host}]" if ":" in host else host
    path = quote((parts.path or "/") + (f"?{parts.query}" if parts.query else ""), safe=_KEPT_IN_PATHS)
    request = (
        f"GET {path} HTTP/1.1\r\n"
        f"Host: {name if port is None else f'{name}:{port}'}\r\n"
        "User-Agent: chaperone-probe\r\n"
        "Accept: */*\r\n"
        "Connection: close\r\n\r\n"
    )
    tls = parts.scheme == "https"
    return _Target(host, port or (443 if tls else 80), tls, request.encode())


async def _read_verdict(reader: asyncio.StreamReader) -> Verdict:
    try:
        line = await reader.readline()
    except ValueError:
        return Verdict(passed=False, detail="not HTTP: the first line does not end")
    except OSError as error:
        return judge(error)
    if not line:
        return Verdict(passed=False, detail="connection closed without an answer")
    match = _STATUS_LINE.fullmatch(line)
    if match is None:
        return Verdict(passed=False, detail=f"not HTTP: {line[:40].decode(errors='replace')!r}")
    status = int(match[1])
    return Verdict(passed=200 <= status < 400, detail=f"http {status}")


async def _let_end(reader: asyncio.StreamReader) -> None:
    left = _MOST_READ
    with anyio.move_on_after(_LINGER), suppress(OSError):
        while left > 0 and (chunk := await reader.read(left)):
            left -= len(chunk)
