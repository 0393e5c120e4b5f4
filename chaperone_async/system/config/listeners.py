"""Where the supervisor listens: as configured, and always on a unix socket too."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

DEFAULT_TCP = "127.0.0.1:9001"
SYSTEM_DIRECTORY = Path("/run/chaperone")
UNIX = "unix:"


def complete(listen: Iterable[str], env: Mapping[str, str]) -> tuple[str, ...]:
    """The listeners without repetition, with the default unix socket if there is no other."""
    listeners = tuple(dict.fromkeys(listen))
    if any(listener.startswith(UNIX) for listener in listeners):
        return listeners
    return (*listeners, default_sockets(env)[0])


def split(text: str) -> list[str]:
    """`$CHAPERONE_HTTP_LISTEN`, separated by commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


def default_sockets(env: Mapping[str, str], system_directory: Path = SYSTEM_DIRECTORY) -> list[str]:
    """The first is where we would listen. A supervisor run by someone else may be at one of the others."""
    system = system_directory / "chaperone.sock"
    own = Path(f"/tmp/chaperone-{os.getuid()}/chaperone.sock")  # noqa: S108  the directory is private to its owner
    runtime = env.get("XDG_RUNTIME_DIR", "")
    if runtime.startswith("/") and os.access(runtime, os.W_OK):
        own = Path(runtime) / "chaperone.sock"
    # Even root cannot write on a read-only file system, which access() knows.
    place = system_directory if os.access(system_directory, os.F_OK) or os.getuid() else system_directory.parent
    both = [system, own] if os.access(place, os.W_OK) else [own, system]
    return [f"{UNIX}{path}" for path in both]
