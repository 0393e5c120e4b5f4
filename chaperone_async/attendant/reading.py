"""What all that is read of a backlog has in common: numbers that are none are refused, clients are kept between two
readings, and a password is in no message."""

import importlib
import math
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, Generic, SupportsFloat, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

from chaperone_async.attendant import Unavailable

NAMES = ("ready", "delayed", "reserved", "failed", "oldest_age", "next_due")
_TIMES = frozenset({"oldest_age", "next_due"})
_MOST = 1 << 53
_SECRETS = ("password", "token", "secret", "api_key", "apikey", "key")  # in the query of an address

T = TypeVar("T")
R = TypeVar("R")
Figures = dict[str, float | None]
Settings = Mapping[str, Any]


def figures(told: object) -> Figures:
    """A backlog: from the number of jobs that are ready, or from a mapping with names of a backlog."""
    if not isinstance(told, Mapping):
        return {"ready": count(told)}
    strange = [str(name) for name in told if name not in NAMES]
    if strange or not told:
        named = f"{strange[0]!r:.60} is not a figure of a backlog" if strange else "there is no figure"
        raise Unavailable(f"{named}; valid are {', '.join(NAMES)}")
    return {name: None if value is None else _figure(name, value) for name, value in told.items()}


def _figure(name: str, value: object) -> float:
    return seconds(value) if name in _TIMES else count(value)


def count(value: object) -> int:
    """A part of a job is one: whoever tells 0.2 jobs on average has seen some."""
    number = _number(value)
    if not 0 <= number < _MOST:
        raise Unavailable(f"{value!r:.60} is not a number of jobs; 0 or more is wanted")
    return math.ceil(number)


def seconds(value: object) -> float:
    """Clocks differ: a little less than 0 is 0."""
    number = value.total_seconds() if isinstance(value, timedelta) else _number(value)
    if not math.isfinite(number):
        raise Unavailable(f"{value!r:.60} is not a time in seconds")
    return max(0.0, number)


def _number(value: object) -> float:
    """NaN for what is none. A text may be one, as in Prometheus' answers."""
    if isinstance(value, bool) or not isinstance(value, str | SupportsFloat):
        return math.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.nan


def library(module: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        package = module.partition(".")[0]
        raise Unavailable(f'needs the package {package}; pip install "chaperone-async[{extra}]"') from None


@contextmanager
def plainly(address: str, *expected: type[BaseException]) -> Iterator[None]:
    """What is expected to go wrong there is told in one line, without what opens its doors."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, (Unavailable, *expected)):
            raise
        raise Unavailable(redacted(_words(error, address), address)) from error


def _words(error: BaseException, address: str) -> str:
    match error:
        case TimeoutError():
            return f"{_place(address)}: no answer in time"
        case OSError(strerror=str(why)):
            return f"{_place(address)}: {why}"
    return words_of(error)


def words_of(error: BaseException) -> str:
    match error.args:
        case [int(), str(why), *_]:  # a number of the library's own, and what it means
            return why
    return str(error) or type(error).__name__


def _place(address: str) -> str:
    return urlsplit(address).netloc.rpartition("@")[2]


def redacted(text: str, address: str) -> str:
    for secret in _secrets_of(address):
        text = text.replace(secret, "***")
    return " ".join(text.split())


def _secrets_of(address: str) -> list[str]:
    """As they are written in the address, and as they are meant; the longest first."""
    try:
        parts = urlsplit(address)
        written = parts.password
    except ValueError:
        return [address]
    found = {word for key in _SECRETS for word in parse_qs(parts.query).get(key, ())}
    if written:
        found |= {written, unquote(written)}
    return sorted(found, key=len, reverse=True)


class Kept(Generic[T]):
    """A client that is kept, for one reading at a time, and made anew after it has failed; at once if its connection
    may only have been too old. A refusal by the server (`Unavailable`) is no failure of the client."""

    def __init__(
        self,
        make: Callable[[], T],
        close: Callable[[T], object],
        lost: Callable[[T, BaseException], bool],
        wait: float,
    ) -> None:
        """`lost`: whether that was raised because the connection is gone."""
        self._make, self._close, self._lost, self._wait = make, close, lost, wait
        self._turn = threading.Lock()
        self._client: T | None = None

    def ask(self, question: Callable[[T], R]) -> R:
        if not self._turn.acquire(timeout=self._wait):
            raise Unavailable(f"an earlier reading has not ended within {self._wait:g} s")
        try:
            if self._client is not None:
                old = self._client
                try:
                    return self._try(old, question)
                except Exception as error:
                    if isinstance(error, Unavailable) or not self._lost(old, error):
                        raise
            self._client = self._make()
            return self._try(self._client, question)
        finally:
            self._turn.release()

    def _try(self, client: T, question: Callable[[T], R]) -> R:
        try:
            return question(client)
        except Unavailable:
            raise
        except BaseException:
            self._client = None
            with suppress(Exception):  # it is broken
                self._close(client)
            raise
