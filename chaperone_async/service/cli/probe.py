"""`health` and `ready`: one question, one line, one exit code.

Orchestrators run them every few seconds, so almost nothing is imported, and the request is written by hand.
"""

import os
from typing import NamedTuple

from chaperone_async.service.cli import outcome
from chaperone_async.service.cli.address import Address, dial, explain, find_addresses

PATHS = {"health": "/livez", "ready": "/readyz"}
DEFAULT_TIMEOUT = 5.0
_OPTIONS = {"-c": "config", "--config": "config", "--url": "url", "--timeout": "timeout"}
_LONGEST_ANSWER = 1 << 20


class Question(NamedTuple):
    command: str  # a key of PATHS
    pool: str | None = None
    config: str | None = None
    url: str | None = None
    timeout: float = DEFAULT_TIMEOUT


def read_question(argv: list[str]) -> Question | None:
    """None for all but the plainest command lines: those are for argparse to read, or to complain about."""
    command, *words = argv
    pool, options = None, {}
    while words:
        word = words.pop(0)
        name, equals, value = word.partition("=")
        if name in _OPTIONS and (equals or words):
            if not equals:
                value = words.pop(0)
            elif not name.startswith("--"):
                return None
            options[_OPTIONS[name]] = value
        elif word.startswith("-") or pool is not None:
            return None
        else:
            pool = word
    timeout = options.get("timeout", "5")
    if not timeout.isascii() or not timeout.isdigit() or len(timeout) > 4 or int(timeout) == 0:
        return None
    if not all(options.values()):
        return None
    return Question(command, pool, options.get("config"), options.get("url"), float(timeout))


def answer(question: Question) -> int:
    """Prints `ok`, or all reasons on one line. Raises the errors of `outcome`."""
    addresses = find_addresses(question.url, question.config, os.environ)
    path = PATHS[question.command] + ("" if question.pool is None else f"/{_quote(question.pool)}")
    status, body, address = _ask(addresses, f"{path}?verbose", question.timeout)
    if status == 200:
        print("ok")
        return outcome.DONE
    if status == 503:
        print(failing(body))
        return outcome.NO
    if status in {401, 403}:
        raise outcome.RefusedError(f"cannot ask the supervisor at {address}: it answers {status}: {_reason(body)}")
    if status == 404 and question.pool is not None:
        raise outcome.NotFoundError(_no_such_pool(question.pool, address, question.timeout))
    raise outcome.UnreachableError(f"cannot reach a supervisor at {address}: it answers {status}: {_reason(body)}")


def failing(body: str) -> str:
    """The failed checks of a verbose answer, without their marks."""
    failed = [line.removeprefix("[-]") for line in body.splitlines() if line.startswith("[-]")]
    return "; ".join(failed) or first_line(body) or "no reason given"


def first_line(body: str) -> str:
    return next((line.strip()[:200] for line in body.splitlines() if line.strip()), "nothing")


def _reason(body: str) -> str:
    """Of a refusal or failure: what the problem document says, or whatever was sent instead."""
    if not body.startswith("{"):
        return first_line(body)
    import json

    try:
        return str(json.loads(body)["detail"])
    except (ValueError, KeyError):
        return first_line(body)


def _ask(addresses: list[Address], path: str, timeout: float) -> tuple[int, str, Address]:
    stream, address = dial(addresses, timeout)
    request = f"GET {path} HTTP/1.0\r\nHost: {address.authority}\r\nAccept: text/plain\r\nConnection: close\r\n\r\n"
    answered = b""
    with stream:
        try:
            stream.sendall(request.encode())
            while len(answered) < _LONGEST_ANSWER and (part := stream.recv(1 << 16)):
                answered += part
        except OSError as error:
            raise outcome.UnreachableError(f"cannot ask the supervisor at {address}: {explain(error)}") from error
    head, _, body = answered.partition(b"\r\n\r\n")
    version, _, rest = head.partition(b" ")
    if not version.startswith(b"HTTP/") or not rest[:3].isdigit():
        raise outcome.UnreachableError(
            f"cannot ask the supervisor at {address}: what answers there does not speak HTTP"
        )
    text = "".join(char if char.isprintable() or char == "\n" else " " for char in body.decode(errors="replace"))
    return int(rest[:3]), text, address


def _quote(name: str) -> str:
    if name.isascii() and name.replace("-", "").replace("_", "").isalnum():
        return name
    from urllib.parse import quote

    return quote(name, safe="")


def _no_such_pool(name: str, address: Address, timeout: float) -> str:
    """Names those that there are, where we may know: worth a second question, since somebody has mistyped."""
    from chaperone_async.service.cli.client import Client

    try:
        names = Client([address], os.environ.get("CHAPERONE_TOKEN", ""), timeout).pool_names()
    except outcome.RefusedError:
        return f"there is no pool named {name!r}"
    return outcome.no_such_pool(name, names)
