"""A number in a JSON document, by its pointer (RFC 6901), or the one that a Prometheus query gives."""

import json
import ssl
import time
from base64 import b64encode
from collections.abc import Callable
from http.client import HTTP_PORT, HTTPS_PORT, HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, NamedTuple
from urllib.parse import SplitResult, unquote, urlencode, urlsplit

from chaperone_async.attendant import Unavailable
from chaperone_async.attendant.reading import Figures, Kept, Settings, figures, plainly

_LONGEST = 1 << 20  # bytes of a document
_PIECE = 1 << 16
_SHOWN = 200


class Answer(NamedTuple):
    status: int
    reason: str
    body: bytes

    def document(self) -> Any:
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise Unavailable(f"what it answers is not JSON: {self.body[:40]!r}") from None


def reader(settings: Settings, limit: float) -> Callable[[], Figures]:
    site = Site(str(settings["address"]), limit)
    if settings["kind"] == "prometheus":
        query = urlencode({"query": str(settings["query"])})
        return lambda: figures(_from_prometheus(site.get("/api/v1/query", query)))
    pointer = str(settings.get("pointer") or "")
    return lambda: figures(point(_from_document(site.get()), pointer))


class Site:
    """One server, with a connection that is kept. A redirection is not followed: it may lead anywhere."""

    def __init__(self, address: str, limit: float) -> None:
        self._address, self._limit = address, limit
        self._kept = Kept(self._connect, HTTPConnection.close, _lost, limit)

    def get(self, below: str = "", query: str = "") -> Answer:
        with plainly(self._address, OSError, HTTPException, ValueError):
            parts = urlsplit(self._address)
            path = (parts.path.rstrip("/") if below else parts.path) + below
            both = "&".join(part for part in (parts.query, query) if part)
            target = f"{path or '/'}?{both}" if both else path or "/"
            return self._kept.ask(lambda connection: self._ask(connection, target, _headers(parts)))

    def _connect(self) -> HTTPConnection:
        parts = urlsplit(self._address)
        host = parts.hostname or "localhost"  # one of IPv6 without a port is taken for both
        if parts.scheme == "https":
            context = ssl.create_default_context()
            return HTTPSConnection(host, parts.port or HTTPS_PORT, timeout=self._limit, context=context)
        return HTTPConnection(host, parts.port or HTTP_PORT, timeout=self._limit)

    def _ask(self, connection: HTTPConnection, target: str, headers: dict[str, str]) -> Answer:
        deadline = time.monotonic() + self._limit
        connection.request("GET", target, headers=headers)
        response = connection.getresponse()
        body = bytearray()
        while piece := response.read1(_PIECE):
            body += piece
            if len(body) > _LONGEST or time.monotonic() > deadline:
                connection.close()  # the next request opens it again
                why = f"longer than {_LONGEST >> 20} MB" if len(body) > _LONGEST else f"slower than {self._limit:g} s"
                raise Unavailable(f"what it answers is {why}")
        response.close()  # which read1 does not always do; the connection is kept
        return Answer(response.status, response.reason, bytes(body))


def _headers(parts: SplitResult) -> dict[str, str]:
    headers = {"Accept": "application/json", "User-Agent": "chaperone-async"}
    if parts.username is not None:
        words = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = f"Basic {b64encode(words.encode()).decode()}"
    return headers


def _lost(_connection: HTTPConnection, error: BaseException) -> bool:
    return isinstance(error, HTTPException | ConnectionError)


def _from_document(answer: Answer) -> Any:
    if answer.status != 200:
        raise Unavailable(f"it answers {answer.status} {answer.reason}".strip())
    return answer.document()


def _from_prometheus(answer: Answer) -> Any:
    """Of a vector of one series, or a scalar. A query that fits nothing gives nothing, which is not zero."""
    if answer.status not in (200, 400, 422, 503):
        raise Unavailable(f"it answers {answer.status} {answer.reason}".strip())
    document = answer.document()
    match document:
        case {"status": "error", "error": str(why)}:
            raise Unavailable(why[:_SHOWN])
        case {"data": {"resultType": "scalar", "result": [_, value]}}:
            return value
        case {"data": {"result": []}}:
            raise Unavailable("the query gives nothing: no series fits it")
        case {"data": {"result": [{"value": [_, value]}]}}:
            return value
        case {"data": {"result": [*many]}} if len(many) > 1:
            raise Unavailable(f"the query gives {len(many)} series; one is wanted, as of sum(…)")
    raise Unavailable("what it answers is no result of an instant query")


def point(document: Any, pointer: str) -> Any:
    found = document
    for word in pointer.split("/")[1:]:
        key = word.replace("~1", "/").replace("~0", "~")
        try:
            found = found[int(key) if isinstance(found, list) and key.isdecimal() else key]
        except (LookupError, TypeError):
            raise Unavailable(f"there is no {pointer} in what it answers") from None
    return found
