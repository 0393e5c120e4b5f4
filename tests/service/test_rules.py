"""Who may do what: the rules as a table, and each route of the API held to them."""

import os
import pwd
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus
from itertools import product
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from chaperone_async.service.http.access import Refuted, Verified
from chaperone_async.service.http.auth import caller
from chaperone_async.service.http.passwords import ScryptHash
from chaperone_async.service.http.route import Route
from chaperone_async.service.http.rules import AccessClass, Allowed, House, Refusal, Transport, Visit, decide
from chaperone_async.service.http.table import TABLE
from tests.service.canned import Canned, Served, served, spec, up

TOKEN = "s3cret-token"
LOCAL, PUBLIC = House(credentials=False, loopback_only=True), House(credentials=False, loopback_only=False)
LOCKED = House(credentials=True, loopback_only=False)
EVERY_HOUSE = [LOCAL, PUBLIC, LOCKED, House(credentials=True, loopback_only=True)]


def visit(access: AccessClass, transport: Transport = "tcp", **more: object) -> Visit:
    return replace(Visit(access=access, transport=transport, host="localhost:9001"), **more)  # type: ignore[arg-type]  # fields of several types


def status(verdict: Allowed | Refusal) -> int:
    return 200 if isinstance(verdict, Allowed) else verdict.status


@pytest.mark.parametrize("house", EVERY_HOUSE)
@pytest.mark.parametrize("access", ["open", "read", "change"])
def test_over_the_unix_socket_the_permissions_of_its_file_have_decided(access: AccessClass, house: House) -> None:
    everything_wrong = visit(access, "unix", host="evil.example", origin="http://evil", fetch_site="cross-site")
    assert decide(everything_wrong, house) == Allowed()


@pytest.mark.parametrize("house", EVERY_HOUSE)
def test_probes_are_open_whatever_the_headers_say(house: House) -> None:
    assert decide(visit("open", host="evil.example", origin="http://evil"), house) == Allowed()


@pytest.mark.parametrize("access", ["read", "change"])
@pytest.mark.parametrize(
    ("shown", "expected"), [(Verified("token"), 200), (Refuted("the token is wrong"), 401), (None, 401)]
)
def test_with_credentials_both_reading_and_changing_need_them(
    access: AccessClass, shown: Verified | Refuted | None, expected: int
) -> None:
    assert status(decide(visit(access, shown=shown, host="any.example"), LOCKED)) == expected


@pytest.mark.parametrize(
    ("house", "access", "expected"),
    [(LOCAL, "read", 200), (LOCAL, "change", 200), (PUBLIC, "read", 200), (PUBLIC, "change", 403)],
)
def test_without_credentials_changes_are_for_loopback_alone(house: House, access: AccessClass, expected: int) -> None:
    assert status(decide(visit(access), house)) == expected


def test_a_refused_change_says_what_to_configure() -> None:
    verdict = decide(visit("change"), PUBLIC)
    assert isinstance(verdict, Refusal)
    assert "configure http.token or http.users, listen on 127.0.0.1 only, or use the unix socket" in verdict.why


@pytest.mark.parametrize("access", ["read", "change"])
@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", 200), ("LOCALHOST:1", 200), ("127.0.0.1:9001", 200), ("127.8.9.1", 200), ("[::1]:9001", 200),
        ("[::1]", 200), ("evil.example", 403), ("evil.example:9001", 403), ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example", 403), ("10.0.0.1:9001", 403), ("[::2]", 403), ("", 403), (None, 403),
        ("127.0.0.1@evil.example", 403), ("evil.example#localhost", 403), ("localhost:x", 403), ("[::1", 403),
        ("localhost:99999", 403), ("local\thost", 403),
    ],
)  # fmt: skip
def test_on_loopback_without_credentials_a_foreign_host_is_dns_rebinding(
    access: AccessClass, host: str | None, expected: int
) -> None:
    assert status(decide(visit(access, host=host), LOCAL)) == expected


ORIGINS = [
    (None, None, 200),
    ("http://localhost:9001", "same-origin", 200),
    ("https://localhost:9001", None, 200),
    ("http://LocalHost:9001", None, 200),
    (None, "none", 200),
    ("http://localhost:9002", None, 403),
    ("http://127.0.0.1:9001", None, 403),
    ("http://localhost", None, 403),
    ("http://evil.example", None, 403),
    ("http://localhost:9001.evil.example", None, 403),
    ("http://localhost:9001@evil.example", None, 403),
    ("file://localhost:9001", None, 403),
    ("null", None, 403),
    ("", None, 403),
    (None, "cross-site", 403),
    (None, "same-site", 403),
    ("http://localhost:9001", "cross-site", 403),
]


@pytest.mark.parametrize("house", [LOCAL, LOCKED])
@pytest.mark.parametrize(("origin", "site", "expected"), ORIGINS)
def test_a_change_that_another_origins_page_asks_for_is_refused_even_with_credentials(
    house: House, origin: str | None, site: str | None, expected: int
) -> None:
    asked = visit("change", shown=Verified("user admin"), origin=origin, fetch_site=site)
    assert status(decide(asked, house)) == expected


@pytest.mark.parametrize(
    ("host", "origin"),
    [("box.example", "https://box.example:443"), ("box.example:80", "http://box.example"), ("[::1]", "http://[::1]")],
)
def test_a_port_left_out_is_the_schemes_own(host: str, origin: str) -> None:
    assert decide(visit("change", shown=Verified("token"), host=host, origin=origin), LOCKED) == Allowed()


# The whole table, over real sockets


async def touch(request: web.Request) -> web.Response:
    return web.Response(text=caller(request))


CHANGE = Route(
    method="POST", path="/touch", handler=touch, access="change", summary="", answers={200: "text/plain"}
)  # fmt: skip
EVERY_ROUTE = (*TABLE, CHANGE)
EVERY_DOOR = tuple(replace(route, handler=touch) for route in EVERY_ROUTE)
"""What lies behind the doors is none of these tests' business, and some of it takes a supervisor that runs."""


@pytest.fixture
def canned() -> Canned:
    return Canned(up(spec()))


def session(where: Served, transport: str) -> aiohttp.ClientSession:
    return where.unix_session() if transport == "unix" else where.session()


def allowed(route: Route, transport: str, configured: bool, shown: bool, tcp: str) -> int:
    """What the interface says: 0 for a permission, else the status of the refusal."""
    if route.access == "open" or transport == "unix":
        return 0
    if configured:
        return 0 if shown else 401
    return 403 if route.access == "change" and not tcp.startswith("127.") else 0


COMBINATIONS = list(product(["unix", "tcp"], [False, True], [False, True], ["127.0.0.1:0", "0.0.0.0:0"]))


@pytest.mark.parametrize(("transport", "configured", "shown", "tcp"), COMBINATIONS)
async def test_every_route_keeps_the_rule_of_its_class(
    canned: Canned, tmp_path: Path, transport: str, configured: bool, shown: bool, tcp: str
) -> None:
    face = canned.face(token=TOKEN if configured else None)
    headers = {"Authorization": f"Bearer {TOKEN}"} if shown else {}
    async with served(face, tmp_path, routes=EVERY_DOOR, tcp=tcp) as where, session(where, transport) as client:
        for route in EVERY_DOOR:
            path = route.path.replace("{pool}", "emails").replace("{", "").replace("}", "")
            async with client.request(route.method, path, headers=headers) as answer:
                expected = allowed(route, transport, configured, shown, tcp)
                got = answer.status if answer.status in {401, 403} else 0
                assert got == expected, (route.method, route.path, HTTPStatus(answer.status))
                assert ("WWW-Authenticate" in answer.headers) == (expected == 401)


async def post(where: Served, headers: Mapping[str, str], transport: str = "tcp") -> tuple[int, str]:
    async with session(where, transport) as client, client.post("/touch", headers=headers) as answer:
        return answer.status, await answer.text()


async def test_a_rebound_name_is_refused_for_all_but_the_probes(canned: Canned, tmp_path: Path) -> None:
    async with served(canned.face(), tmp_path, routes=EVERY_ROUTE) as where, where.session() as client:
        for path, expected in [("/api/v1/status", 403), ("/nothing", 403), ("/livez", 200), ("/readyz/emails", 200)]:
            async with client.get(path, headers={"Host": "evil.example:9001"}) as answer:
                assert answer.status == expected
        assert (await post(where, {"Host": "evil.example"}))[0] == 403


async def test_a_cross_site_post_is_refused_and_our_own_pages_is_not(canned: Canned, tmp_path: Path) -> None:
    async with served(canned.face(), tmp_path, routes=EVERY_ROUTE) as where:
        assert (await post(where, {"Origin": "http://evil.example"}))[0] == 403
        assert (await post(where, {"Sec-Fetch-Site": "cross-site"}))[0] == 403
        assert (await post(where, {"Origin": f"http://{where.tcp}", "Sec-Fetch-Site": "same-origin"}))[0] == 200


async def test_a_browsers_basic_credentials_do_not_let_another_origin_change_things(
    canned: Canned, tmp_path: Path
) -> None:
    face = canned.face(users=(("admin", str(ScryptHash.of("pass"))),))
    shown = {"Authorization": "Basic " + b64encode(b"admin:pass").decode()}
    async with served(face, tmp_path, routes=EVERY_ROUTE) as where:
        assert await post(where, shown) == (200, "user admin")
        assert (await post(where, {**shown, "Origin": "https://evil.example"}))[0] == 403


async def test_the_record_says_who_asked(canned: Canned, tmp_path: Path) -> None:
    uid = os.getuid()
    async with served(canned.face(), tmp_path, routes=EVERY_ROUTE) as where:
        assert await post(where, {}, "unix") == (200, f"{pwd.getpwuid(uid).pw_name} (uid {uid})")
        assert await post(where, {}) == (200, "127.0.0.1")
    async with served(canned.face(token=TOKEN), tmp_path, routes=EVERY_ROUTE) as where:
        assert await post(where, {"Authorization": f"Bearer {TOKEN}"}) == (200, "token")
