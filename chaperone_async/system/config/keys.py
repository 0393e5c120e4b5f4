"""What is to be known of a key of `chaperone.toml`: it is written once, beside the key in `model`."""

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, NamedTuple, TypeGuard, Union, get_args, get_origin

import msgspec
from msgspec import Struct


class Table(Struct, kw_only=True):
    """A TOML table: unknown keys are refused, and every key may be left out."""

    others: ClassVar[str | None] = None
    """The field, of type `dict[str, Table]`, with the tables that are found by `other`."""

    @classmethod
    def other(cls, _key: str) -> "type[Table] | None":
        """What a table of this name is, which is no field of ours."""
        return None

    @classmethod
    def other_names(cls) -> "tuple[str, ...]":
        return ()


class About(NamedTuple):
    """What a key means, in one line; where it has no default, with an example. Stands in the key's annotation."""

    text: str
    example: Any = None


class Key(NamedTuple):
    """`name` in our code, `key` in the file. `kind`: the type, without None."""

    name: str
    key: str
    kind: Any
    about: About

    @property
    def table(self) -> type[Table] | None:
        return self.kind if is_table(self.kind) else None


def is_table(kind: Any) -> TypeGuard[type[Table]]:
    return isinstance(kind, type) and issubclass(kind, Table)


@cache
def keys_of(table: type[Table]) -> Mapping[str, Key]:
    """By their names in the file, in the order of the model."""
    fields = (_read(field) for field in msgspec.structs.fields(table) if field.name != table.others)
    return MappingProxyType({key.key: key for key in fields})


def _read(field: msgspec.structs.FieldInfo) -> Key:
    kind, about = field.type, About("")
    if get_origin(kind) is Annotated:
        kind, *notes = get_args(kind)
        about = next((note for note in notes if isinstance(note, About)), about)
    options = tuple(option for option in get_args(kind) if option is not type(None))
    if type(None) in get_args(kind):
        kind = Union[options]  # noqa: UP007  built at run time
    return Key(field.name, field.encode_name, kind, about)
