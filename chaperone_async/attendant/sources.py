"""The backlog of any queue, read where a pool's `source` says: without a backend, and without the application.

Its settings: {"kind": "redis_list", "address": "redis://localhost/0#emails", "timeout": 5.0}, and what belongs to the
kind. Kind "scaling" is no backlog: a function of the user's that says how many workers it calls for.
"""

import importlib
from collections.abc import Callable, Sequence

from chaperone_async.attendant import Unavailable
from chaperone_async.attendant.reading import Figures, Settings

_FAMILIES = {
    "redis_list": "redis",
    "redis_stream": "redis",
    "redis_sorted_set": "redis",
    "rabbitmq": "rabbitmq",
    "sql": "sql",
    "http": "http",
    "prometheus": "http",
    "command": "command",
    "python": "python",
}
_SHARE = 0.8  # of the time that a sample may take: who gives up first can say why
_TIMEOUT = 5.0


class Source:
    def __init__(self, read: Callable[[], Figures]) -> None:
        self._read = read

    def backlog(self, queues: Sequence[str]) -> Figures:  # noqa: ARG002  which queue is meant is in its address
        return self._read()


def attend(settings: Settings) -> object:
    """Quick: nothing is connected to, or imported, before it is asked for."""
    kind, limit = str(settings["kind"]), limit_of(settings)
    if kind == "scaling":
        from chaperone_async.attendant.sources_python import Scaling

        return Scaling(str(settings["address"]), limit)
    if kind not in _FAMILIES:
        raise Unavailable(f"{kind!r} is no kind of source; valid are {', '.join(_FAMILIES)}")
    family = importlib.import_module(f"chaperone_async.attendant.sources_{_FAMILIES[kind]}")
    return Source(family.reader(settings, limit))


def limit_of(settings: Settings) -> float:
    """Seconds that connecting, and an answer, may take."""
    return _SHARE * float(settings.get("timeout", _TIMEOUT))
