"""JSON Schema (2020-12) of `chaperone.toml`, for editors: the model's shape, each type's schema, each key's meaning.

It is about the file as it is written: where a text refers to the environment, what it expands to is not known.
"""

from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

from chaperone_async.system.backends.registry import all_options
from chaperone_async.system.config.effective import file_defaults, pool_defaults
from chaperone_async.system.config.keys import Table, is_table, keys_of
from chaperone_async.system.config.model import FileTable, PoolTable
from chaperone_async.system.config.units import Schema
from chaperone_async.system.config.walk import is_later

_BOOLEAN = "^(?:[01]|[Tt][Rr][Uu][Ee]|[Ff][Aa][Ll][Ss][Ee])$"
_REFERENCE = {"type": "string", "pattern": r"\$\{|\$\$", "description": "Text with ${NAME}, from the environment."}


def make_schema() -> Schema:
    definitions: dict[str, Schema] = {"Reference": _REFERENCE}
    definitions["PoolTable"] = _table(PoolTable, pool_defaults(), definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "chaperone.toml",
        "description": "Pools of queue workers for chaperone to supervise.",
        **_table(FileTable, file_defaults(), definitions),
        "$defs": dict(sorted(definitions.items())),
    }


def _table(table: type[Table], defaults: Mapping[str, Any], definitions: dict[str, Schema]) -> Schema:
    properties: dict[str, Schema] = {}
    for key in keys_of(table).values():
        if is_later(key.kind):
            continue
        inner = defaults.get(key.key)
        if key.table is None or key.table is PoolTable:
            schema = _type(key.kind, definitions)
        else:
            schema = _table(key.table, inner or {}, definitions)
        if key.about.text:
            schema = schema | {"description": key.about.text}
        if inner is not None and key.table is None:
            schema = schema | {"default": inner}
        if key.about.example is not None:
            schema = schema | {"examples": [key.about.example]}
        properties[key.key] = schema
    if table is PoolTable:
        for name, options in all_options().items():
            about = f"what {name} is to be told, where that is the backend"
            properties[name] = {**_table(options, {}, definitions), "description": about}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _type(kind: Any, definitions: dict[str, Schema]) -> Schema:
    if get_origin(kind) is tuple:
        item = _item(get_args(kind)[0], definitions)
        return {"anyOf": [item, {"type": "array", "items": item}]}
    if get_origin(kind) is dict:
        names, values = get_args(kind)
        return {
            "type": "object",
            "propertyNames": names.schema(),
            "additionalProperties": _type(values, definitions),
        }
    if get_origin(kind) is Literal:
        return _or_reference({"enum": list(get_args(kind))})
    if kind is bool:
        return _or_reference({"type": ["boolean", "string"], "pattern": _BOOLEAN})
    if kind is not PoolTable:
        definitions.setdefault(kind.__name__, _or_reference(kind.schema()))
    return {"$ref": f"#/$defs/{kind.__name__}"}


def _item(kind: Any, definitions: dict[str, Schema]) -> Schema:
    return _table(kind, {}, definitions) if is_table(kind) else _type(kind, definitions)


def _or_reference(schema: Schema) -> Schema:
    """In lists, too: an item of a command may refer to the environment."""
    hints = {key: value for key, value in schema.items() if key in {"description", "examples"}}
    rule = {key: value for key, value in schema.items() if key not in hints}
    return {**hints, "anyOf": [rule, {"$ref": "#/$defs/Reference"}]}
