"""Which file is the configuration, and what table it holds."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from chaperone_async.errors import ConfigError
from chaperone_async.system.config.problems import Place

SYSTEM_FILE = Path("/etc/chaperone/chaperone.toml")


class Document(NamedTuple):
    """One file's configuration, as it was written. `at` is where its keys hang: `tool.chaperone` in a pyproject."""

    path: Path
    at: Place
    table: dict[str, Any]


def find_document(path: Path | None, env: Mapping[str, str], system_file: Path = SYSTEM_FILE) -> Document | None:
    """The given file, the one `$CHAPERONE_CONFIG` names, or the first there is; None if there is none to be found.

    Raises ConfigError when a file that was named is missing, or one that was found cannot be read.
    """
    if path is None and env.get("CHAPERONE_CONFIG"):
        path = Path(env["CHAPERONE_CONFIG"])
    if path is not None:
        document = read_document(path)
        if document is None:
            raise ConfigError([f"{path}: cannot read the configuration: it has no [tool.chaperone] table; add one"])
        return document
    for candidate in (Path("chaperone.toml"), Path("pyproject.toml"), system_file):
        if _is_there(candidate) and (document := read_document(candidate)) is not None:
            return document
    return None


def _is_there(path: Path) -> bool:
    try:
        return path.is_file()
    except PermissionError:  # of its directory: reading will say so
        return True


def read_document(path: Path) -> Document | None:
    """None for a pyproject.toml that does not speak of us. Raises ConfigError."""
    table = _read_toml(path)
    at = Place(str(path))
    if path.name != "pyproject.toml":
        return Document(path, at, table)
    tool = table.get("tool")
    section = tool.get("chaperone") if isinstance(tool, dict) else None
    return Document(path, at / "tool" / "chaperone", section) if isinstance(section, dict) else None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text("utf-8-sig")  # some editors begin with a mark
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError([f"{path}: cannot read the configuration: {reason}; name a readable TOML file"]) from error
    except ValueError as error:  # not UTF-8, or no possible file name
        raise ConfigError([f"{path}: cannot read the configuration: {error}; TOML files are UTF-8 text"]) from error
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ConfigError([f"{path}: cannot read the configuration: it is nested too deeply; flatten it"]) from error
    except ValueError as error:
        reason, line = _split_line(str(error), text)
        raise ConfigError([f"{path}:{line}: cannot read the configuration: {reason}"]) from error


def _split_line(message: str, text: str) -> tuple[str, int]:
    """tomllib ends its messages with `(at line 3, column 5)` or `(at end of document)`."""
    reason, _, position = message.rpartition(" (at ")
    if position.startswith("line "):
        return reason, int(position[5:].partition(",")[0])
    return reason or message, text.count("\n") + 1
