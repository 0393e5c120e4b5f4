"""The API described for programs, in OpenAPI 3.1, from the same table and types that serve and check it."""

import re
from collections.abc import Sequence
from functools import cached_property
from http import HTTPStatus
from typing import Any, TypedDict

import msgspec
import orjson
from aiohttp import web
from msgspec import Struct
from msgspec.structs import FieldInfo

from chaperone_async.service import wire
from chaperone_async.service.http.answers import FACE
from chaperone_async.service.http.inputs import query_fields
from chaperone_async.service.http.route import Answer, Route

DESCRIPTION = web.AppKey["Description"]("description")

Json = dict[str, Any]
_SCHEMAS = "#/components/schemas/{name}"
_PARAMETERS = {
    "pool": "the pool's name",
    "queue": "the queue's name",
    "id": "as it is told in lists; for a worker the number of its slot will do too",
}
_SEGMENT = "^[^/]+$"
_SCHEMES: Json = {
    "token": {"type": "http", "scheme": "bearer", "description": "http.token, over TCP"},
    "user": {"type": "http", "scheme": "basic", "description": "one of http.users, over TCP"},
}
_WHY = {
    400: "the request is malformed, or its query has a key or value that is not possible",
    401: "credentials are configured, and none or wrong ones were shown",
    403: "not over TCP without credentials, or not for a page of another origin",
    404: "there is no such thing",
    408: "the body did not come in time",
    409: "it does not go together with what there is or what is under way, such as a shutdown",
    413: "the body is too large",
    415: "the body is not of the right media type",
    422: "the body, or the configuration's file, has a key or value that is not possible",
    500: "an error in the supervisor; its log says which",
    502: "the queue system refused it, or its library failed",
    503: "the queue cannot be reached, or does not answer in time; or nothing is known of it yet",
}


class OpenApiDocument(TypedDict):
    """See https://spec.openapis.org/oas/v3.1.1"""

    openapi: str
    info: dict[str, Any]
    paths: dict[str, Any]
    components: dict[str, Any]


class Description:
    """`schemes`: names of those of `_SCHEMES` that are configured. Made when somebody asks for the first time."""

    def __init__(self, routes: Sequence[Route], version: str, schemes: Sequence[str]) -> None:
        self._routes = routes
        self._version = version
        self._schemes = tuple(schemes)
        self._security: list[Json] = [{scheme: []} for scheme in schemes]

    def secured_by(self, schemes: Sequence[str]) -> "Description":
        """The same, where a reload has changed what is configured."""
        return self if tuple(schemes) == self._schemes else Description(self._routes, self._version, schemes)

    @cached_property
    def document(self) -> bytes:
        paths: Json = {}
        refs, schemas = _schemas(self._routes)
        for route in self._routes:
            paths.setdefault(route.path, {})[route.method.lower()] = self._operation(route, refs)
        refusals = sorted({status for route in self._routes for status in _refusals(route)})
        return orjson.dumps({
            "openapi": "3.1.0",
            "info": {"title": "chaperone", "version": self._version, "description": "GET answers HEAD too."},
            "servers": [{"url": "/"}],
            "paths": paths,
            "components": {
                "schemas": schemas,
                "responses": {_name(status): _problem(status, refs) for status in refusals},
                "securitySchemes": _SCHEMES,
            },
        })  # fmt: skip

    def _operation(self, route: Route, refs: dict[type, Json]) -> Json:
        responses: Json = {
            str(status): {"$ref": f"#/components/responses/{_name(status)}"} for status in _refusals(route)
        }
        for status, answer in route.answers.items():
            shown: Json = {"description": HTTPStatus(status).phrase}
            if content := _content(answer, refs):
                shown["content"] = content
            responses[str(status)] = shown
        operation: Json = {
            "operationId": "_".join(re.findall(r"\w+", f"{route.method.lower()}{route.path}")),
            "summary": route.summary,
            "parameters": [*_path_parameters(route), *_query_parameters(route)],
            "responses": dict(sorted(responses.items())),
            "security": [] if route.access == "open" else self._security,
        }
        if isinstance(route.body, str):
            operation["requestBody"] = {"content": {route.body: {"schema": {"type": "string"}}}, "required": True}
        elif route.body is not None:
            schema = {"schema": refs[route.body]}
            operation["requestBody"] = {"content": {"application/json": schema}, "required": _is_needed(route.body)}
        return operation


async def show_description(request: web.Request) -> web.Response:
    description = request.app[DESCRIPTION].secured_by(request.app[FACE].entrance.access.schemes)
    return web.Response(body=description.document, content_type="application/json")


def _schemas(routes: Sequence[Route]) -> tuple[dict[type, Json], Json]:
    """A reference for each type that is told or read, and what they refer to."""
    bodies = [route.body for route in routes if isinstance(route.body, type)]
    told = [shape for route in routes for answer in route.answers.values() for shape in _shapes(answer)]
    every: list[type] = [wire.ProblemDocument, *bodies, *(shape for shape in told if isinstance(shape, type))]
    types = list(dict.fromkeys(every))
    made, schemas = msgspec.json.schema_components(types, ref_template=_SCHEMAS)
    refs = dict(zip(types, made, strict=True))
    for body in bodies:  # `inputs` refuses what it does not know
        schemas[refs[body]["$ref"].rpartition("/")[2]]["additionalProperties"] = False
    return refs, schemas


def _shapes(answer: Answer) -> tuple[type | str, ...]:
    if answer is None:
        return ()
    return answer if isinstance(answer, tuple) else (answer,)


def _content(answer: Answer, refs: dict[type, Json]) -> Json:
    content: Json = {shape: {"schema": {"type": "string"}} for shape in _shapes(answer) if isinstance(shape, str)}
    documents = [refs[shape] for shape in _shapes(answer) if not isinstance(shape, str)]
    if documents:
        content["application/json"] = {"schema": documents[0] if len(documents) == 1 else {"anyOf": documents}}
    return content


def _refusals(route: Route) -> list[int]:
    """The statuses of the problem documents that this route may answer."""
    statuses = {500, *route.problems}
    if route.access != "open":
        statuses |= {400, 401, 403}
    if "{" in route.path:
        statuses.add(404)
    if route.body is not None:
        statuses |= {400, 408, 413, 415, 422}
    return sorted(statuses - set(route.answers))


def _problem(status: int, refs: dict[type, Json]) -> Json:
    phrase = HTTPStatus(status).phrase
    shown: Json = {
        "description": _WHY.get(status, phrase),
        "content": {"application/problem+json": {"schema": refs[wire.ProblemDocument]}},
    }
    if status == 401:
        shown["headers"] = {"WWW-Authenticate": {"schema": {"type": "string"}}}
    return shown


def _name(status: int) -> str:
    return "".join(re.findall(r"\w+", HTTPStatus(status).phrase))


def _path_parameters(route: Route) -> list[Json]:
    return [
        {
            "name": name, "in": "path", "required": True, "description": _PARAMETERS.get(name, name),
            "schema": {"type": "string", "pattern": _SEGMENT},
        }
        for name in re.findall(r"\{(\w+)", route.path)
    ]  # fmt: skip


def _query_parameters(route: Route) -> list[Json]:
    if route.query is None:
        return []
    return [_query_parameter(name, field) for name, field in query_fields(route.query).items()]


def _query_parameter(name: str, field: FieldInfo) -> Json:
    schema = msgspec.json.schema(field.type)
    description = schema.pop("description", name)
    if not field.required and field.default is not None:
        schema["default"] = field.default
    return {"name": name, "in": "query", "required": field.required, "description": description, "schema": schema}


def _is_needed(body: type[Struct]) -> bool:
    return any(field.required for field in msgspec.structs.fields(body))


ROUTES = (
    Route(
        method="GET", path="/openapi.json", handler=show_description, access="read",
        summary="This description", answers={200: OpenApiDocument},
    ),
)  # fmt: skip
