"""Where the supervisor of this configuration listens, for probe clients: nothing is checked, nothing heavy imported."""

from collections.abc import Mapping
from pathlib import Path

from chaperone_async.errors import ConfigError
from chaperone_async.system.config import listeners
from chaperone_async.system.config.find import find_document
from chaperone_async.system.config.problems import Problems
from chaperone_async.system.config.read import read_all


def locate_socket(path: Path | None, env: Mapping[str, str]) -> list[str]:
    """Addresses to try, best first: unix sockets, then TCP, each written as in `listen`.

    Mistakes elsewhere in the files do not matter here, nor does a file that is not for this user to read, or that was
    found and cannot be parsed, as while somebody writes it: a probe must not fail for them. Raises ConfigError only
    when a file that was named is missing, or `path` cannot be parsed.
    """
    found = listeners.split(env.get("CHAPERONE_HTTP_LISTEN", "")) or _configured(path, env)
    sockets = [listener for listener in found if listener.startswith(listeners.UNIX)]
    addresses = [listener for listener in found if not listener.startswith(listeners.UNIX)]
    return [*(sockets or listeners.default_sockets(env)), *addresses]


def _configured(path: Path | None, env: Mapping[str, str]) -> list[str]:
    try:
        document = find_document(path, env)
    except ConfigError as error:
        if not isinstance(error.__cause__, PermissionError if path else (PermissionError, ValueError)):
            raise
        document = None
    for part in read_all(document, env, Problems()) if document else ():
        http = part.table.get("http")
        if isinstance(http, dict) and "listen" in http:
            listen = http["listen"]
            return [entry for entry in (listen if isinstance(listen, list) else [listen]) if isinstance(entry, str)]
    return [listeners.DEFAULT_TCP]
