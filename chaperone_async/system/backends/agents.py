"""What backends have in common whose workers load our agent in the application's place: by the environment it is told
whose place that is, and what the library takes from the application's settings and not from its command line."""

import json
import re
from collections.abc import Iterator

from chaperone_async.system.backends.protocol import Asked, Unsuited

LETTING_GO = 2.0
"""Seconds of a stop that are left when a worker gives up waiting for its jobs."""
_NAME = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
_FORMS = {".": re.compile(rf"{_NAME}\.[^\W\d]\w*"), ":": re.compile(rf"{_NAME}:{_NAME}")}

Variables = tuple[tuple[str, str], ...]


def environment(target: str, **told: float | None) -> Variables:
    """See `chaperone_async/agent/target.py`."""
    known = {name: value for name, value in told.items() if value is not None}
    return ("CHAPERONE_TARGET", target), ("CHAPERONE_AGENT", json.dumps(known))


def application(app: str | None, key: str, example: str, separator: str = ".") -> str:
    """`separator`: what stands before the last name, as the library writes it."""
    if not app:
        raise Unsuited(key, f'is missing; write where it is, such as {key} = "{example}"')
    if not _FORMS[separator].fullmatch(app):
        raise Unsuited(key, f'{str(app)!r} does not name it as the library does; write such as "{example}"')
    return str(app)


def only_queue(asked: Asked, who: str) -> str:
    if len(asked.queues) > 1:
        raise Unsuited("queue", f"cannot be {len(asked.queues)} queues: {who} works on one; make a pool for each")
    return asked.queues[0]


def patience(asked: Asked, left: float = LETTING_GO) -> float:
    """Seconds that a worker which is asked to stop waits for its jobs: it is to end by itself, before it is killed."""
    return max(asked.stop_timeout - left, asked.stop_timeout / 2)


def further(options: tuple[str, ...] | None) -> Iterator[str]:
    return (str(option) for option in options or ())
