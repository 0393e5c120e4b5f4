"""The configuration as its files give it: includes followed, the environment expanded, nothing checked yet."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from chaperone_async.errors import ConfigError
from chaperone_async.system.config.find import Document, read_document
from chaperone_async.system.config.problems import Place, Problems
from chaperone_async.system.config.secrets import SHORTEST_PART, is_secret_name

_REFERENCE = re.compile(r"\$\$|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^{}]*))?\}|\$\{")
_DEEPEST = 20


def read_all(document: Document, env: Mapping[str, str], problems: Problems) -> list[Document]:
    """The document and all it includes, each once; what cannot be had is a problem, not an exception."""
    documents: list[Document] = []
    _follow(document, env, problems, documents, ())
    return documents


def _follow(
    document: Document, env: Mapping[str, str], problems: Problems, documents: list[Document], trail: tuple[str, ...]
) -> None:
    trail = (*trail, os.path.realpath(document.path))  # unlike Path.resolve, does not raise for a loop of links
    table = _expand_table(document.table, document.at, env, problems)
    patterns = table.pop("include", [])
    documents.append(document._replace(table=table))
    for at, path in _included(document, patterns, problems):
        if os.path.realpath(path) in trail:
            problems.add(at, f"cannot include {path}: it includes this file; files must not include each other")
        elif all(os.path.realpath(path) != os.path.realpath(known.path) for known in documents):
            try:
                included = read_document(path)
            except ConfigError as error:
                problems.add(at, f"cannot include {error}")
            else:
                if included is not None:
                    _follow(included, env, problems, documents, trail)


def _included(document: Document, patterns: object, problems: Problems) -> Iterator[tuple[Place, Path]]:
    from glob import glob, has_magic

    at, directory = document.at / "include", document.path.parent
    for index, pattern in enumerate(patterns if isinstance(patterns, list) else [patterns]):
        here = at.item(index) if isinstance(patterns, list) else at
        if not isinstance(pattern, str) or not pattern:
            problems.refuse(here, pattern, 'is not a file name; write a list such as ["conf.d/*.toml"]')
        elif has_magic(pattern):
            for name in sorted(glob(pattern, root_dir=directory, recursive=True)):  # noqa: PTH207  also takes absolute patterns
                yield here, directory / name
        else:
            yield here, directory / pattern


def expand(text: str, env: Mapping[str, str]) -> str:
    """`${NAME}`, `${NAME:-default}` (also for an empty NAME) and `$$`. Raises ValueError."""

    def replace(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        name, default = match["name"], match["default"]
        if name is None:
            raise ValueError("has a broken reference; write ${NAME}, ${NAME:-default}, or $$ for a dollar sign")
        if default is not None:
            return env.get(name) or default
        if name not in env:
            raise ValueError(f"needs ${name}, which is not set; set it, or write ${{{name}:-default}}")
        return env[name]

    expanded = _REFERENCE.sub(replace, text)
    if "\0" in expanded:
        raise ValueError("holds a NUL character, which no program can be given; remove it")
    return expanded


def _expand_table(table: dict[str, Any], at: Place, env: Mapping[str, str], problems: Problems) -> dict[str, Any]:
    """Left out is what could not be expanded."""
    expanded = {}
    for key, value in table.items():
        if (result := _expand_value(value, at / key, env, problems)) is not None:
            expanded[key] = result
    return expanded


def _expand_value(value: Any, at: Place, env: Mapping[str, str], problems: Problems) -> Any:
    if len(at.keys) > _DEEPEST:
        problems.add(Place(at.file, at.keys[:3]), "is nested too deeply; no key is that deep")
        return None
    if isinstance(value, dict):
        return _expand_table(value, at, env, problems)
    if isinstance(value, list):
        items = (_expand_value(item, at.item(index), env, problems) for index, item in enumerate(value))
        return [item for item in items if item is not None]
    if not isinstance(value, str):
        return value
    try:
        result = expand(value, env)
    except ValueError as error:
        problems.refuse(at, value, str(error))
        return None
    for match in _REFERENCE.finditer(value):
        if match["name"] and is_secret_name(match["name"]):
            secret = env.get(match["name"]) or match["default"] or ""
            problems.hide(secret)
            if len(secret) < SHORTEST_PART:
                problems.hide(result)
    return result
