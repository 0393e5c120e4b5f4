"""Backends by name: those of this distribution, and those that others bring."""

from functools import cache
from importlib.metadata import EntryPoint, entry_points

from chaperone_async.system.backends.protocol import GROUP, Backend
from chaperone_async.system.config.keys import Table
from chaperone_async.system.config.problems import advise

NO_BACKEND = "command"
"""`backend = "command"`: any program, by the pool's own command."""


class UnknownBackend(LookupError):
    """The message goes on from the name: `is not a backend; …`."""


class BrokenBackend(LookupError):
    """There is one of that name, and it cannot be loaded. The message goes on from the name."""


@cache
def _found() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def names() -> tuple[str, ...]:
    return tuple(sorted({*_found(), NO_BACKEND}))


@cache
def find_backend(name: str) -> Backend:
    """Raises UnknownBackend and BrokenBackend."""
    point = _found().get(name)
    if point is None:
        raise UnknownBackend(f"is not a backend; {advise(name, names())}")
    try:
        kind = point.load()
        backend: Backend = kind() if isinstance(kind, type) else kind
    except Exception as error:  # anybody's module is imported here
        raise BrokenBackend(f"cannot be loaded: {point.value} raised {type(error).__name__}: {error}") from error
    if backend.name != name:
        raise BrokenBackend(f"cannot be used: {point.value} calls itself {backend.name!r}")
    return backend


def options_of(name: str) -> type[Table] | None:
    """The table of this backend's options. None: there is no such backend. One that cannot be loaded is told of where
    it is used."""
    try:
        return find_backend(name).options
    except LookupError:
        return None


def all_options() -> dict[str, type[Table]]:
    """By backend. Loads all of them."""
    found = {name: options_of(name) for name in names()}
    return {name: options for name, options in found.items() if options is not None}
