"""Every refusal is a problem document, and no failure says more than it should."""

import json
import logging
from io import BytesIO
from pathlib import Path
from typing import NoReturn

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from chaperone_async.service.http.app import make_app
from chaperone_async.service.views import Views
from chaperone_async.supervision.supervisor import Snapshot
from chaperone_async.system.clock import WallClock
from tests.service.canned import Canned, served, spec, up


@pytest.fixture
def canned() -> Canned:
    return Canned(up(spec()))


@pytest.mark.parametrize("path", ["/nothing", "/api/v1/nothing", "/api/v1/pools/", "//livez", "/livez/emails/more"])
async def test_an_unknown_address_is_a_problem(canned: Canned, tmp_path: Path, path: str) -> None:
    async with served(canned.face(), tmp_path) as where, where.session() as client:
        answer = await client.get(f"http://{where.tcp}{path}")
        assert (answer.status, answer.content_type) == (404, "application/problem+json")
        document = await answer.json()
        assert (document["status"], document["title"], document["instance"]) == (404, "Not Found", path)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_an_impossible_method_says_which_are_possible(canned: Canned, tmp_path: Path, method: str) -> None:
    async with served(canned.face(), tmp_path) as where, where.session() as client:
        answer = await client.request(method, "/api/v1/status")
        assert (answer.status, answer.content_type) == (405, "application/problem+json")
        assert answer.headers["Allow"] == "GET, HEAD"
        assert (await answer.json())["detail"] == f"{method} is not possible here; use GET, HEAD"


class BrokenViews(Views):
    def status(self, snapshot: Snapshot) -> NoReturn:
        raise RuntimeError("a secret")


async def test_a_bug_is_logged_and_not_shown(canned: Canned, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    canned.views = BrokenViews("test", "1.2.3", 4321, WallClock().at, canned.said)
    async with served(canned.face(), tmp_path) as where, where.session() as client:
        answer = await client.get("/api/v1/status")
        assert (answer.status, answer.content_type) == (500, "application/problem+json")
        assert "secret" not in await answer.text()
        assert (await client.get("/livez")).status == 200
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert (record.name, record.getMessage()) == ("chaperone", "cannot answer GET /api/v1/status")
    assert record.exc_info is not None


@pytest.mark.parametrize(
    "request_",
    [
        b"nonsense\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x\r\nbad header\r\n\r\n",
        b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 20_000 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
    ids=["nonsense", "bad header", "long line", "long header", "TLS"],
)
async def test_what_is_not_http_gets_a_problem_and_no_log(
    canned: Canned, tmp_path: Path, request_: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(canned.face(), tmp_path) as where:
        head, _, body = (await where.raw(request_)).partition(b"\r\n\r\n")
    assert head.splitlines()[0].endswith(b" 400 Bad Request")
    assert b"aiohttp" not in head
    assert json.loads(body)["status"] == 400
    assert not caplog.records


async def swallow(request: web.Request) -> web.Response:
    return web.Response(text=str(len(await request.read())))


async def test_the_limit_of_a_body_is_told(canned: Canned) -> None:
    app = make_app(canned.face())
    app.add_routes([web.post("/swallow", swallow)])
    async with TestServer(app) as server, ClientSession(str(server.make_url("/"))) as client:
        assert await (await client.post("/swallow", data=b"x" * 1000)).text() == "1000"
        answer = await client.post("/swallow", data=BytesIO(b"x" * ((1 << 20) + 1)))
        assert (answer.status, answer.content_type) == (413, "application/problem+json")
        assert (await answer.json())["detail"] == "the body is too large; send at most 1048576 bytes"
