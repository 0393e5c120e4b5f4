"""What a route takes is checked against its types, and a refusal names the key, the value, and what would be right."""

import asyncio
import json
import time
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from aiohttp import web
from msgspec import Meta, Struct

from chaperone_async.service.http.answers import json_response
from chaperone_async.service.http.connection import DEFAULT, Bounds
from chaperone_async.service.http.inputs import read_body, read_query
from chaperone_async.service.http.openapi import Description
from chaperone_async.service.http.route import Route
from tests.service.canned import Canned, Served, served, spec, up


class Limits(Struct, frozen=True):
    memory: int = 0


class Scale(Struct, frozen=True):
    workers: Annotated[int, Meta(ge=0, le=100)]
    how: Literal["now", "gently"] = "gently"
    note: str | None = None
    tag: Annotated[str, Meta(pattern="^[a-z]+$")] = ""
    limits: Limits | None = None


class Wait(Struct, frozen=True):
    wait: Annotated[float, Meta(ge=0, le=60)] = 0.0
    dry_run: bool = False


async def scale(request: web.Request) -> web.Response:
    query, body = read_query(request, Wait), await read_body(request, Scale)
    return json_response({"wait": query.wait, "dry_run": query.dry_run, "workers": body.workers, "how": body.how})


async def hurry(request: web.Request) -> web.Response:
    return json_response({"wait": (await read_body(request, Wait)).wait})


async def go(_: web.Request) -> web.Response:
    return json_response({})


ROUTES = (
    Route(
        method="POST", path="/scale", handler=scale, access="change", summary="", answers={200: dict},
        query=Wait, body=Scale,
    ),
    Route(method="POST", path="/hurry", handler=hurry, access="change", summary="", answers={200: dict}, body=Wait),
    Route(method="POST", path="/go", handler=go, access="change", summary="", answers={200: dict}),
)  # fmt: skip
JSON = {"Content-Type": "application/json"}


async def post(
    tmp_path: Path, path: str, body: bytes | None = b'{"workers": 3}', headers: dict[str, str] | None = None
) -> tuple[int, Any]:
    face = Canned(up(spec())).face()
    async with served(face, tmp_path, routes=ROUTES) as where, where.unix_session() as client:
        answer = await client.post(path, data=body, headers=JSON if headers is None else headers)
        return answer.status, await answer.json(content_type=None)


async def test_what_is_right_comes_as_its_types(tmp_path: Path) -> None:
    typed = {"wait": 2.5, "dry_run": True, "workers": 3, "how": "gently"}
    assert await post(tmp_path, "/scale?wait=2.5&dry_run=true") == (200, typed)


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8", "APPLICATION/JSON"])
async def test_json_may_say_its_charset(tmp_path: Path, content_type: str) -> None:
    assert (await post(tmp_path, "/scale", headers={"Content-Type": content_type}))[0] == 200


@pytest.mark.parametrize("body", [None, b"", b"{}"])
async def test_where_nothing_is_required_no_body_will_do(tmp_path: Path, body: bytes | None) -> None:
    assert await post(tmp_path, "/hurry", body) == (200, {"wait": 0.0})


@pytest.mark.parametrize(
    ("path", "detail"),
    [
        ("/scale?wait=x", "cannot use wait='x': it must be a number from 0 to 60"),
        ("/scale?wait=61", "cannot use wait='61': it must be a number from 0 to 60"),
        ("/scale?dry_run=perhaps", "cannot use dry_run='perhaps': it must be true or false"),
        ("/scale?wiat=1", "cannot use the query: there is no parameter 'wiat' here; did you mean 'wait'?"),
        ("/scale?wait=1&wait=2", "cannot use the query: wait is given more than once; give it once"),
        ("/go?x=1", "cannot use the query: there is no parameter 'x' here; it takes none"),
    ],
)
async def test_a_wrong_query_is_a_bad_request(tmp_path: Path, path: str, detail: str) -> None:
    status, problem = await post(tmp_path, path, None if path.startswith("/go") else b'{"workers": 3}')
    assert (status, problem["detail"]) == (400, detail)


WORKERS = "it must be a whole number from 0 to 100"


@pytest.mark.parametrize(
    ("body", "expected", "detail"),
    [
        (None, 400, "a body is needed: a JSON object with workers, a whole number from 0 to 100"),
        (b"{", 400, "cannot read the body: it is not JSON (Input data was truncated); send a JSON object"),
        (b'"\xff"', 400, "cannot read the body: it is not JSON ("),
        (b"[" * 50_000, 400, "cannot read the body: it is not JSON ("),
        (b"[3]", 422, "cannot use the body: [3] is not a JSON object; send one such as {…}"),
        (b"{}", 422, "workers is missing; it must be a whole number from 0 to 100"),
        (b'{"workers": "3"}', 422, f"cannot use workers: '3': {WORKERS}"),
        (b'{"workers": -1}', 422, f"cannot use workers: -1: {WORKERS}"),
        (b'{"workers": 1e400}', 400, "cannot read the body: it is not JSON ("),
        (b'{"workers": true}', 422, f"cannot use workers: true: {WORKERS}"),
        (b'{"worker": 3}', 422, "cannot use the body: there is no key 'worker' here; did you mean 'workers'?"),
        (
            b'{"workers": 3, "how": "fast"}',
            422,
            "cannot use how: 'fast': it must be one of gently, now, such as 'gently'",
        ),
        (b'{"workers": 3, "note": 5}', 422, "cannot use note: 5: it must be text or null"),
        (b'{"workers": 3, "tag": "A"}', 422, "cannot use tag: 'A': it must be text of the form ^[a-z]+$"),
        (b'{"workers": 3, "limits": 5}', 422, "cannot use limits: 5: it must be an object or null"),
    ],
)
async def test_a_wrong_body_is_explained(tmp_path: Path, body: bytes | None, expected: int, detail: str) -> None:
    status, problem = await post(tmp_path, "/scale", body)
    assert status == expected
    assert problem["detail"].startswith(detail)


async def test_a_huge_wrong_value_is_not_repeated(tmp_path: Path) -> None:
    for body in ({"workers": "x" * 500_000}, {"k" * 500_000: 1}):
        status, problem = await post(tmp_path, "/scale", json.dumps(body).encode())
        assert status == 422
        assert len(problem["detail"]) < 250


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "application/xml"])
async def test_a_body_of_another_media_type_is_refused(tmp_path: Path, content_type: str) -> None:
    status, problem = await post(tmp_path, "/scale", headers={"Content-Type": content_type})
    detail = f"cannot read a body with Content-Type {content_type!r}; send application/json"
    assert (status, problem["detail"]) == (415, detail)


async def test_a_media_type_that_is_no_text_is_refused(tmp_path: Path) -> None:
    head = b"POST /scale HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 2\r\n"
    async with served(Canned(up(spec())).face(), tmp_path, routes=ROUTES) as where:
        answer = await where.raw(head + b"Content-Type: text/\xff\r\n\r\n{}")
    assert answer.startswith(b"HTTP/1.1 415 ")


async def test_a_body_where_none_is_taken_is_refused(tmp_path: Path) -> None:
    status, problem = await post(tmp_path, "/go", b'{"workers": 8}')
    assert (status, problem["detail"]) == (400, "cannot use the body: POST /go takes none; send no body")
    assert (await post(tmp_path, "/go", None))[0] == 200


async def test_a_probe_is_answered_whatever_it_brings(tmp_path: Path) -> None:
    async with served(Canned(up(spec())).face(), tmp_path) as where, where.session() as client:
        assert (await client.get("/livez?x=1&x=2", data=b"x")).status == 200


async def test_a_body_that_is_too_large_is_refused(tmp_path: Path) -> None:
    face = Canned(up(spec())).face()
    async with served(face, tmp_path, routes=ROUTES) as where, where.session() as client:
        answer = await client.post("/scale", data=BytesIO(b" " * ((1 << 20) + 1)), headers=JSON)
        assert answer.status == 413
        assert (await answer.json(content_type=None))["detail"] == "the body is too large; send at most 1048576 bytes"


async def send_slowly(where: Served, path: str) -> tuple[bytes, float]:
    """A body of which a byte comes now and then, and never the last; what is answered until the end, and when."""
    reader, writer = await asyncio.open_connection("127.0.0.1", where.port)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n"
    )
    writer.write(head.encode() + b"{")
    began = time.monotonic()

    async def dribble() -> None:
        while not writer.is_closing():
            writer.write(b" ")
            await asyncio.sleep(0.01)

    dribbling = asyncio.create_task(dribble())
    answer = b""
    try:
        async with asyncio.timeout(10):
            while chunk := await reader.read(4096):
                answer += chunk
    except ConnectionResetError:
        pass  # what is still sent after the end
    took = time.monotonic() - began
    dribbling.cancel()
    writer.close()
    await asyncio.gather(dribbling, writer.wait_closed(), return_exceptions=True)
    return answer, took


@pytest.mark.parametrize(("path", "status"), [("/scale", b"408"), ("/go", b"400"), ("/nothing", b"404")])
async def test_a_body_that_comes_too_slowly_ends_the_connection(tmp_path: Path, path: str, status: bytes) -> None:
    face, bounds = Canned(up(spec())).face(), Bounds(body=0.1, lingering=0.1)
    async with served(face, tmp_path, bounds, ROUTES) as where:
        answer, took = await send_slowly(where, path)
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert took < 10


def test_nobody_may_take_longer_than_half_a_minute_for_a_body() -> None:
    assert DEFAULT.body == 30


class Optional(Struct, frozen=True):
    limit: Annotated[int | None, Meta(ge=1, description="so many")] = None
    since: Annotated[int, Meta(ge=1)] | None = None


async def look(request: web.Request) -> web.Response:
    query = read_query(request, Optional)
    return json_response({"limit": query.limit, "since": query.since})


LOOK = Route(
    method="GET", path="/look", handler=look, access="read", summary="", answers={200: dict}, query=Optional
)  # fmt: skip


async def test_a_query_cannot_say_null(tmp_path: Path) -> None:
    async with served(Canned(up(spec())).face(), tmp_path, routes=(LOOK,)) as where, where.session() as client:
        assert await (await client.get("/look?limit=3")).json() == {"limit": 3, "since": None}
        for query in ("limit=null", "since=null"):
            answer = await client.get(f"/look?{query}")
            assert answer.status == 400
            assert "it must be a whole number from 1 up" in (await answer.json(content_type=None))["detail"]


def test_what_may_be_left_out_is_described_without_null() -> None:
    document = json.loads(Description([LOOK], "1", []).document)
    limit, since = document["paths"]["/look"]["get"]["parameters"]
    assert limit == {
        "name": "limit", "in": "query", "required": False, "description": "so many",
        "schema": {"type": "integer", "minimum": 1},
    }  # fmt: skip
    assert since["schema"] == {"type": "integer", "minimum": 1}
