"""Asking the supervisor: for a document of the API, for a change, or for one of its streams; by unix socket or TCP."""

import json
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException, HTTPResponse, IncompleteRead
from typing import Any
from urllib.parse import quote, urlencode

from chaperone_async.errors import ConfigError
from chaperone_async.service.cli.address import Address, dial, explain
from chaperone_async.service.cli.outcome import (
    NotFoundError,
    QueueFailedError,
    RefusedError,
    UnreachableError,
    UsageError,
    no_such_pool,
)

Document = dict[str, Any]
SILENCE = 45.0
"""Seconds without even a heartbeat, of which there is one every 15, that are taken for the end of a stream."""


class Client:
    """Asks at the first address that takes a connection, and stays with it. All methods raise the errors of `outcome`.

    The token is not sent over a unix socket, where the permissions of the file decide.
    """

    def __init__(self, addresses: list[Address], token: str, timeout: float) -> None:
        self._addresses = addresses
        self._token = token.strip()  # files of secrets end in a newline
        self._timeout = timeout
        if not self._token.isascii() or not self._token.isprintable():
            raise UsageError("cannot send $CHAPERONE_TOKEN: no token has such characters; write printable ASCII text")

    def status(self) -> Document:
        return self._get("/status")

    def pool_names(self) -> list[str]:
        return [pool["name"] for pool in self.pools()["pools"]]

    def pool(self, name: str) -> Document:
        """With its workers."""
        return self._get_of_pool(name, "")

    def pools(self) -> Document:
        """All, each with its workers."""
        return self._get("/pools")

    def crashes(self, pool: str | None, limit: int) -> Document:
        """Of one pool or of all, the newest first."""
        query = f"/crashes?limit={limit}"
        return self._get(query) if pool is None else self._get_of_pool(pool, query)

    def events(self, query: str) -> Document:
        """`query`: as in a URL."""
        return self._get(f"/events?{query}")

    def logs(self, path: str, query: str) -> Document:
        return self._get(f"{path}?{query}")

    def queues(self) -> Document:
        return self._get("/queues")

    def failed(self, queue: str, pool: str, limit: int) -> Document:
        """The newest failed jobs of a queue, as this pool's queue system knows them."""
        return self._get(f"{failed_path(queue)}?{urlencode({'pool': pool, 'limit': limit})}")

    def change(self, method: str, path: str, body: Document | None = None) -> Document:
        """What has been set in motion. Raises ConfigError with all that is wrong with what was given."""
        return self._ask(method, path, body)

    def operation(self, identifier: str, wait: float) -> Document:
        """As it stands when it has ended, or after so many seconds: fewer than the time for an answer."""
        return self._get(f"/operations/{quote(identifier, safe='')}?wait={wait:g}")

    def operations(self) -> Document:
        """The newest first."""
        return self._get("/operations")

    def scale(self, pool: str, workers: int | str) -> Document:
        """`workers`: a number, or a difference such as "+1"."""
        try:
            return self.change("PATCH", f"/pools/{quote(pool, safe='')}", {"workers": workers})
        except NotFoundError as error:
            raise NotFoundError(no_such_pool(pool, self.pool_names())) from error

    def stream(self, path: str, last_id: str) -> Iterator[str]:
        """The lines of server-sent events, to the end of the stream."""
        connection = _Connection(self._addresses, self._timeout)
        try:
            connection.connect()
            self._addresses = [connection.address]
            given = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_id} if last_id else {})
            socket = connection.sock  # taken away from the connection once the head of the answer is there
            response = self._request(connection, path, given)
            if response.status != 200:
                _read(response, response.read(), connection.address)
            socket.settimeout(SILENCE)
            rest = b""
            while chunk := response.read1(1 << 16):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    yield line.decode()
        except (OSError, HTTPException) as error:
            raise _unreachable(connection.address, error) from error
        finally:
            connection.close()

    def _get_of_pool(self, name: str, rest: str) -> Document:
        try:
            return self._get(f"/pools/{quote(name, safe='')}{rest}")
        except NotFoundError as error:
            raise NotFoundError(no_such_pool(name, self.pool_names())) from error

    def _get(self, path: str) -> Document:
        return self._ask("GET", path)

    def _ask(self, method: str, path: str, body: Document | None = None) -> Document:
        connection = _Connection(self._addresses, self._timeout)
        try:
            connection.connect()
            self._addresses = [connection.address]
            response = self._request(connection, path, {"Accept": "application/json"}, method, body)
            return _read(response, response.read(), connection.address)
        except (OSError, HTTPException) as error:
            raise _unreachable(connection.address, error) from error
        finally:
            connection.close()

    def _request(
        self, connection: "_Connection", path: str, given: dict[str, str], method: str = "GET",
        body: Document | None = None,
    ) -> HTTPResponse:  # fmt: skip
        headers = {"Host": connection.address.authority, **given}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if self._token and connection.address.scheme != "unix":
            headers["Authorization"] = f"Bearer {self._token}"
        encoded = None if body is None else json.dumps(body)
        connection.request(method, f"/api/v1{path}", encoded, headers)
        return connection.getresponse()


def failed_path(queue: str, job: str | None = None) -> str:
    return f"/queues/{quote(queue, safe='')}/failed" + ("" if job is None else f"/{quote(job, safe='')}")


class _Connection(HTTPConnection):
    def __init__(self, addresses: list[Address], timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self.address = addresses[0]
        self._candidates, self._patience = addresses, timeout

    def connect(self) -> None:
        self.sock, self.address = dial(self._candidates, self._patience)


def _unreachable(address: Address, error: OSError | HTTPException) -> UnreachableError:
    if isinstance(error, OSError):
        why = explain(error)
    else:
        why = "the answer broke off" if isinstance(error, IncompleteRead) else "what answers there does not speak HTTP"
    return UnreachableError(f"cannot ask the supervisor at {address}: {why}")


def _read(response: HTTPResponse, body: bytes, address: Address) -> Document:
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    if response.status in {200, 201, 202} and isinstance(document, dict):
        return document
    told = document if isinstance(document, dict) else {}
    reason = told.get("detail") or told.get("title") or response.reason
    if response.status in {401, 403}:
        advice = "" if told.get("detail") else "; give a token in $CHAPERONE_TOKEN, or ask over the unix socket"
        raise RefusedError(f"cannot ask the supervisor at {address}: {reason}{advice}")
    if response.status == 409 and told:
        raise RefusedError(str(reason))
    if response.status == 422 and told:
        raise ConfigError(told.get("errors") or [str(reason)])
    if response.status == 404 and told:
        raise NotFoundError(str(reason))
    if response.status == 400 and told:
        raise UsageError(str(reason))
    if response.status in {502, 503} and told:
        raise QueueFailedError(str(reason))
    answer = f"it answers {response.status}: {reason}" if response.status != 200 else "it answers something else"
    raise UnreachableError(f"cannot ask at {address}: {answer}; name a supervisor with --url")
