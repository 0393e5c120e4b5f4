"""Pools with their workers; more pools, one more worker, and pools that are no longer wanted."""

from typing import Annotated, Any

from aiohttp import web
from anyio import current_time
from msgspec import UNSET, Meta, Struct, defstruct

from chaperone_async.core.spec import MB
from chaperone_async.service import wire
from chaperone_async.service.http.answers import FACE, MOST, find_pool, json_response
from chaperone_async.service.http.auth import caller
from chaperone_async.service.http.inputs import read_body, read_object, read_query
from chaperone_async.service.http.outcome import WaitQuery, answer_operation
from chaperone_async.service.http.problems import Refused
from chaperone_async.service.http.route import Route
from chaperone_async.service.runtime_pools import WorkerOptions
from chaperone_async.system.backends.registry import NO_BACKEND, names
from chaperone_async.system.config.keys import keys_of
from chaperone_async.system.config.model import PoolTable
from chaperone_async.system.config.walk import is_later
from chaperone_async.system.config.words import PoolName


class PoolsQuery(Struct, frozen=True):
    limit: Annotated[int, Meta(ge=1, le=MOST, description="at most so many pools")] = 1000


_BACKENDS = {f"backend_{number}": name for number, name in enumerate(names()) if name != NO_BACKEND}
"""Their names need not be Python's."""
PoolBody = defstruct(
    "PoolBody",
    [
        ("name", Annotated[str, Meta(description="of the pool", extra_json_schema=PoolName.schema())]),
        *(
            (key.key, Annotated[Any, Meta(description=f"{key.about.text}, as in the configuration")], None)
            for key in keys_of(PoolTable).values()
            if not is_later(key.kind)
        ),
        *(
            (field, Annotated[dict[str, Any], Meta(description=f"options of the backend {name}")], UNSET)
            for field, name in _BACKENDS.items()
        ),
    ],
    frozen=True,
    rename=_BACKENDS,
)
"""For the description alone: the configuration's own reader tells all that is wrong at once."""


class WorkerBody(Struct, frozen=True):
    queue: Annotated[str, Meta(min_length=1, description="what it is to work on")]
    timeout: Annotated[float, Meta(ge=0, description="job.timeout, in seconds")] | None = None
    sleep: Annotated[float, Meta(ge=0, description="job.sleep, in seconds")] | None = None
    tries: Annotated[int, Meta(ge=0, le=1_000_000, description="job.tries")] | None = None
    memory: Annotated[float, Meta(ge=0, le=1e9, description="health.memory_limit, in MB; 0 is off")] | None = None

    @property
    def options(self) -> WorkerOptions:
        memory = None if self.memory is None else round(self.memory * MB)
        return WorkerOptions(timeout=self.timeout, sleep=self.sleep, tries=self.tries, memory=memory)


async def list_pools(request: web.Request) -> web.Response:
    face = request.app[FACE]
    shown = read_query(request, PoolsQuery).limit
    snapshot = face.supervisor.snapshot()
    return json_response({"pools": [face.views.pool(view, snapshot.at) for view in snapshot.pools[:shown]]})


async def show_pool(request: web.Request) -> web.Response:
    face = request.app[FACE]
    return json_response(face.views.pool(find_pool(request), current_time()))


async def add_pool(request: web.Request) -> web.Response:
    wait, table = read_query(request, WaitQuery).wait, await read_object(request)
    name = table.pop("name", None)
    if not isinstance(name, str):
        raise Refused(422, 'cannot add a pool: it has no name; write one such as "name": "emails"')
    operation = request.app[FACE].runtime.add(name, table, caller(request))
    return await answer_operation(request, operation, wait)


async def remove_pool(request: web.Request) -> web.Response:
    wait = read_query(request, WaitQuery).wait
    operation = request.app[FACE].runtime.remove(request.match_info["pool"], caller(request))
    return await answer_operation(request, operation, wait)


async def add_worker(request: web.Request) -> web.Response:
    wait, body = read_query(request, WaitQuery).wait, await read_body(request, WorkerBody)
    pool, operation = await request.app[FACE].runtime.add_worker(body.queue, body.options, caller(request))
    return await answer_operation(request, operation, wait, {"pool": pool})


_OUTCOME = {200: wire.OperationDocument, 202: wire.OperationDocument}
ROUTES = (
    Route(
        method="GET", path="/api/v1/pools", handler=list_pools, access="read",
        summary="All pools with their workers", query=PoolsQuery, answers={200: wire.PoolsDocument},
    ),
    Route(
        method="POST", path="/api/v1/pools", handler=add_pool, access="change",
        summary="Add a pool until the supervisor ends", query=WaitQuery, body=PoolBody, answers=_OUTCOME,
        problems=(409,),
    ),
    Route(
        method="GET", path="/api/v1/pools/{pool}", handler=show_pool, access="read",
        summary="One pool with its workers", answers={200: wire.PoolDocument},
    ),
    Route(
        method="DELETE", path="/api/v1/pools/{pool}", handler=remove_pool, access="change",
        summary="Stop a pool that was added by request, and forget it", query=WaitQuery, answers=_OUTCOME,
        problems=(409,),
    ),
    Route(
        method="POST", path="/api/v1/workers", handler=add_worker, access="change",
        summary="One more worker for a queue: in its pool, or with options of its own in a new one", query=WaitQuery,
        body=WorkerBody, answers={200: wire.AddedWorkerDocument, 202: wire.AddedWorkerDocument}, problems=(404, 409),
    ),
)  # fmt: skip
