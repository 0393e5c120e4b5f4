"""What the environment tells an agent that stands in its application's place: $CHAPERONE_TARGET, whose place that is;
$CHAPERONE_AGENT, a JSON object of settings that the pool's configuration has and the library's command line has not."""

import json
import os
from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any


def target() -> str:
    return os.environ.get("CHAPERONE_TARGET", "")


def told() -> "dict[str, Any]":
    found: dict[str, Any] = json.loads(os.environ.get("CHAPERONE_AGENT") or "{}")
    return found


def load(path: str) -> "Any":
    """What `module.name` or `module:name` is. Where there is no such thing the worker ends, in one line."""
    module, _, name = path.replace(":", ".").rpartition(".")
    try:
        found = import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # something that the application itself imports
        why = f"there is no module {error.name}; name one that can be imported"
        raise SystemExit(f"cannot load {path}: {why}") from None
    try:
        return getattr(found, name)
    except AttributeError:
        why = f"{module} has no {name!r}; name what the library is to be given"
        raise SystemExit(f"cannot load {path}: {why}") from None


def queue_name(own: str) -> str:
    """The pool's name of the only queue, `own` to the application; a pool that calls it nothing has "default"."""
    named = os.environ.get("CHAPERONE_QUEUE", own)
    if named not in {own, "default"}:
        raise SystemExit(f"cannot work on the queue {named!r}: {target()} has {own!r}; write that as the pool's queue")
    return named


def arguments(args: "Iterable[Any]" = (), kwargs: "Mapping[str, Any] | None" = None) -> str | None:
    """What it takes to send a failed job again. None: JSON would make something else of it."""
    whole = {"args": list(args), "kwargs": dict(kwargs or {})}
    try:
        text = json.dumps(whole, allow_nan=False)
        same = bool(json.loads(text) == whole)
    except Exception:  # noqa: BLE001  arguments may be anything, with an __eq__ of their own
        return None
    return text if same else None
