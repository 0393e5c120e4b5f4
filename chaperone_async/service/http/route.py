"""One route of the API as a value: its address, who may use it, what it takes and what it answers. The aiohttp routes,
the access rules and openapi.json all come from these."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from aiohttp import web
from msgspec import Struct

from chaperone_async.service.http.rules import AccessClass

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]

Shape = type | str
"""A type of `wire`, answered as application/json; or a media type, such as "text/plain"."""
Answer = Shape | tuple[Shape, ...] | None
"""Several, where `Accept` or the query decides; None: no body."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """GET answers HEAD too. `path` as aiohttp and OpenAPI write it: `/api/v1/pools/{pool}`. `matches`: as aiohttp takes
    it, where another path would be mistaken for this one.

    `query`: a frozen Struct whose fields are annotated with limits and a description, for `inputs.read_query`.
    `body`: a Struct for `inputs.read_body`, or the media type of a body that the handler reads by itself.
    `problems`: statuses of problem documents beyond those that follow from the rest: 401 and 403 from the access,
    404 from a path with parameters, 400 from a query, 400, 408, 413, 415 and 422 from a body, 500.
    """

    method: Method
    path: str
    handler: Handler
    access: AccessClass
    summary: str
    answers: Mapping[int, Answer]
    query: type[Struct] | None = None
    body: type[Struct] | str | None = None
    problems: tuple[int, ...] = ()
    matches: str | None = None
