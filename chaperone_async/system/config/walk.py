"""One walk over a parsed file: every value becomes its type of `model`, or a problem; the walk goes on after each."""

from typing import Any, Literal, TypeVar, get_args, get_origin

import msgspec

from chaperone_async.system.config import words
from chaperone_async.system.config.keys import Table, is_table, keys_of
from chaperone_async.system.config.problems import Place, Problems, advise

TableT = TypeVar("TableT", bound=Table)


def read_table(kind: type[TableT], raw: object, at: Place, problems: Problems) -> TableT:
    """Holds what was right; what was wrong is None, as if it had not been written."""
    if not isinstance(raw, dict):
        problems.refuse(at, raw, f"is not a table; write [{at.key}]" if at.key else "is not a table")
        return kind()
    keys = keys_of(kind)
    values: dict[str, Any] = {}
    for key, value in raw.items():
        if key in keys:
            values[keys[key].name] = _read_value(keys[key].kind, value, at / key, problems)
        elif kind.others is not None and (other := kind.other(key)) is not None:
            values.setdefault(kind.others, {})[key] = read_table(other, value, at / key, problems)
        else:
            known_names = (name for name, known in keys.items() if not is_later(known.kind))
            problems.unknown(at / key, (*known_names, *kind.other_names()))
    return kind(**values)


def _read_value(kind: Any, value: object, at: Place, problems: Problems) -> Any:
    """None where it could not be read."""
    if is_table(kind):
        return read_table(kind, value, at, problems)
    if get_origin(kind) is dict:
        return _read_entries(get_args(kind), value, at, problems)
    if get_origin(kind) is tuple:
        places = [(at.item(i), item) for i, item in enumerate(value)] if isinstance(value, list) else [(at, value)]
        read = (_read_value(get_args(kind)[0], item, here, problems) for here, item in places)
        return tuple(item for item in read if item is not None)
    try:
        return convert(value, kind)
    except ValueError as error:
        if is_later(kind):
            problems.add(at, str(error))  # whatever the value is
        else:
            problems.refuse(at, value, str(error))
        return None


def is_later(kind: Any) -> bool:
    """Whether a key of this type is known, and never accepted."""
    return isinstance(kind, type) and issubclass(kind, words.Later)


def _read_entries(kinds: tuple[Any, ...], raw: object, at: Place, problems: Problems) -> dict[str, Any] | None:
    key_kind, value_kind = kinds
    if not isinstance(raw, dict):
        problems.refuse(at, raw, f"is not a table; write [{at.key}]")
        return None
    entries = {}
    for key, value in raw.items():
        try:
            name = convert(key, key_kind)
        except ValueError as error:
            problems.add(at / key, f"{key!r} {error}")
            continue
        if (read := _read_value(value_kind, value, at / key, problems)) is not None:
            entries[name] = read
    return entries


def convert(value: object, kind: Any) -> Any:
    """One value as `kind`. Raises ValueError with what goes on from the value: `is not …; write …`."""
    # Text that says true or false may be an expanded ${NAME}; msgspec reads such text only where it is not strict.
    strict = not (kind is bool and isinstance(value, str))
    try:
        return msgspec.convert(value, kind, strict=strict, dec_hook=_parse)
    except msgspec.ValidationError as error:
        if get_origin(kind) is Literal:
            raise ValueError(f"is not known here; {advise(str(value), get_args(kind))}") from error
        if kind is bool:
            raise ValueError("is neither true nor false; write one of them, without quotes") from error
        raise ValueError(str(error)) from error


def _parse(kind: Any, value: object) -> Any:
    return kind.parse(value)
