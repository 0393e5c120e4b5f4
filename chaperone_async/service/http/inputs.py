"""Requests → typed queries and bodies, or a Refused that names the key, the value, and what would be right."""

from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import anyio
import msgspec
from aiohttp import web
from msgspec import NODEFAULT, Struct
from msgspec.structs import FieldInfo

from chaperone_async.service.http.problems import Refused
from chaperone_async.service.http.route import Route
from chaperone_async.system.config.problems import advise

BODY_TIME = web.AppKey("body_time", float)
"""Seconds for a client to send a body."""
_SHOWN = 50

StructT = TypeVar("StructT", bound=Struct)


def read_query(request: web.Request, kind: type[StructT]) -> StructT:
    """Raises Refused(400)."""
    fields = query_fields(kind)
    texts: dict[str, object] = {}
    for key, text in request.query.items():
        if key not in fields:
            raise Refused(400, f"cannot use the query: there is no parameter {_show(key)} here; {_advise(key, fields)}")
        if key in texts:
            raise Refused(400, f"cannot use the query: {key} is given more than once; give it once")
        texts[key] = text
    return _build(kind, fields, texts, 400, "=", strict=False)


async def read_body(request: web.Request, kind: type[StructT]) -> StructT:
    """A JSON object. No body is as good as an empty object where nothing is required.

    Raises Refused: 400 for what is not JSON, 408 for what does not come, 415 for another media type, 422 for JSON of
    another shape; and aiohttp's own exception where there is too much of it (413).
    """
    fields = _fields(kind)
    if not await read_raw(request):
        if not any(field.required for field in fields.values()):
            return kind()
        raise Refused(400, f"a body is needed: a JSON object with {', '.join(_required(fields))}")
    members = await read_object(request)
    for key in members:
        if key not in fields:
            raise Refused(422, f"cannot use the body: there is no key {_show(key)} here; {_advise(key, fields)}")
    return _build(kind, fields, members, 422, ": ", strict=True)


async def read_object(request: web.Request) -> dict[str, Any]:
    """A JSON object with whatever keys. Raises Refused as `read_body` does."""
    raw = await read_raw(request)
    if not raw:
        raise Refused(400, "a body is needed: a JSON object")
    if request.content_type != "application/json":
        given = _show(request.headers.get("Content-Type", ""))
        raise Refused(415, f"cannot read a body with Content-Type {given}; send application/json")
    members = _decode(raw)
    if not isinstance(members, dict):
        raise Refused(422, f"cannot use the body: {_show(members)} is not a JSON object; send one such as {{…}}")
    return members


async def read_raw(request: web.Request) -> bytes:
    """The body in whatever form. Raises Refused(408), and aiohttp's own exception where there is too much of it."""
    seconds = request.app[BODY_TIME]
    try:
        with anyio.fail_after(seconds):
            return await request.read()
    except TimeoutError as error:
        raise Refused(408, f"the body did not come within {seconds:g} s; send it at once") from error


def refuse_undeclared(request: web.Request, route: Route) -> None:
    """A wish that this address cannot fulfil must not look as if it were. Raises Refused(400)."""
    if route.query is None and route.access != "open" and request.query:
        key = next(iter(request.query))
        raise Refused(400, f"cannot use the query: there is no parameter {_show(key)} here; it takes none")
    if route.body is None and route.access == "change" and request.can_read_body:
        raise Refused(400, f"cannot use the body: {request.method} {route.path} takes none; send no body")


def _decode(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(400, f"cannot read the body: it is not JSON ({error}); send a JSON object") from error


def _build(
    kind: type[StructT],
    fields: Mapping[str, FieldInfo],
    given: Mapping[str, object],
    status: int,
    sign: str,
    *,
    strict: bool,
) -> StructT:
    values: dict[str, Any] = {}
    for key, field in fields.items():
        if key not in given:
            if field.required:
                raise Refused(status, f"{key} is missing; it must be {_describe(field)}")
            continue
        try:
            values[field.name] = msgspec.convert(given[key], field.type, strict=strict)
        except (msgspec.ValidationError, RecursionError) as error:
            why = f"it must be {_describe(field)}"
            raise Refused(status, f"cannot use {key}{sign}{_show(given[key])}: {why}") from error
    return kind(**values)


def query_fields(kind: type[Struct]) -> dict[str, FieldInfo]:
    """A query cannot say null: None is what was not given."""
    return {
        key: FieldInfo(field.name, key, _without_none(field.type), field.default, field.default_factory)
        for key, field in _fields(kind).items()
    }


def _without_none(kind: Any) -> Any:
    """`Annotated[int, …]` for `Annotated[int | None, …]`."""
    if get_origin(kind) is Annotated:
        inner, *notes = get_args(kind)
        return Annotated[(_without_none(inner), *notes)]
    if get_origin(kind) in {Union, UnionType}:
        return Union[tuple(option for option in get_args(kind) if option is not NoneType)]  # noqa: UP007  built at run time
    return kind


def _fields(kind: type[Struct]) -> dict[str, FieldInfo]:
    return {field.encode_name: field for field in msgspec.structs.fields(kind)}


def _required(fields: Mapping[str, FieldInfo]) -> list[str]:
    return [f"{key}, {_describe(field)}" for key, field in fields.items() if field.required]


def _advise(key: str, fields: Mapping[str, FieldInfo]) -> str:
    return advise(key[:_SHOWN], fields) if fields else "it takes none"


def _show(value: object) -> str:
    text = repr(value) if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _describe(field: FieldInfo) -> str:
    """`a whole number from 1 to 10000, such as 100`."""
    schema = msgspec.json.schema(field.type)
    worth_telling = field.default is not NODEFAULT and field.default
    example = f", such as {_show(field.default)}" if worth_telling else ""
    return f"{_describe_schema(schema)}{example}"


_KINDS = {
    "integer": "a whole number", "number": "a number", "string": "text", "boolean": "true or false",
    "array": "a list", "object": "an object", "null": "null",
}  # fmt: skip


def _describe_schema(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_describe_schema(option) for option in schema["anyOf"])
    if "enum" in schema:
        return f"one of {', '.join(map(str, schema['enum']))}"
    if "pattern" in schema:
        return f"text of the form {schema['pattern']}"
    kind = _KINDS.get(schema.get("type", "object"), "something else")
    least, most = schema.get("minimum"), schema.get("maximum")
    match least, most:
        case None, None:
            return kind
        case _, None:
            return f"{kind} from {least} up"
        case None, _:
            return f"{kind} up to {most}"
        case _:
            return f"{kind} from {least} to {most}"
