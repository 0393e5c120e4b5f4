"""Who may read: anybody over the unix socket it may open; over TCP, with credentials configured, who shows them."""

import ssl
import subprocess
from base64 import b64encode
from pathlib import Path

import aiohttp
import pytest

from chaperone_async.errors import ConfigError
from chaperone_async.service.http.access import Access, Refuted, Verified
from chaperone_async.service.http.passwords import ScryptHash
from chaperone_async.service.http.server import serve
from chaperone_async.service.http.tls import server_context
from chaperone_async.system.config.load import Tls
from tests.service.canned import Canned, served, spec, up

TOKEN = "s3cret-token"
USERS = (("admin", str(ScryptHash.of("pässword"))), ("guest", str(ScryptHash.of("a:b"))))


def basic(name: str, password: str) -> str:
    return "Basic " + b64encode(f"{name}:{password}".encode()).decode()


async def ask(canned: Canned, tmp_path: Path, path: str, shown: str | None = None, **configured: object) -> int:
    headers = {} if shown is None else {"Authorization": shown}
    async with served(canned.face(**configured), tmp_path) as where, where.session() as client:  # type: ignore[arg-type]  # options of several types
        return (await client.get(path, headers=headers)).status


@pytest.fixture
def canned() -> Canned:
    return Canned(up(spec()))


STATUS = "/api/v1/status"


@pytest.mark.parametrize(
    ("shown", "status"),
    [
        (f"Bearer {TOKEN}", 200),
        (f"bearer  {TOKEN} ", 200),
        (None, 401),
        ("", 401),
        (TOKEN, 401),
        (f"Bearer {TOKEN}x", 401),
        ("Bearer", 401),
        ("Bearer \u00e9", 401),
        (basic("admin", "pässword"), 401),
    ],
)
async def test_with_a_token_only_the_token_opens(
    canned: Canned, tmp_path: Path, shown: str | None, status: int
) -> None:
    assert await ask(canned, tmp_path, STATUS, shown, token=TOKEN) == status


@pytest.mark.parametrize(
    ("shown", "status"),
    [
        (basic("admin", "pässword"), 200),
        (basic("guest", "a:b"), 200),
        (basic("admin", "password"), 401),
        (basic("guest", "pässword"), 401),
        (basic("nobody", "pässword"), 401),
        (basic("", ""), 401),
        ("Basic", 401),
        ("Basic !!!", 401),
        ("Basic " + b64encode(b"admin").decode(), 401),
        ("Basic " + b64encode(b"\xff\xfe:\xfd").decode(), 401),
        (f"Bearer {TOKEN}", 401),
    ],
)
async def test_with_users_a_name_and_its_password_open(canned: Canned, tmp_path: Path, shown: str, status: int) -> None:
    assert await ask(canned, tmp_path, STATUS, shown, users=USERS) == status


@pytest.mark.parametrize("shown", [f"Bearer {TOKEN}", basic("admin", "pässword")])
async def test_with_both_either_opens(canned: Canned, tmp_path: Path, shown: str) -> None:
    assert await ask(canned, tmp_path, STATUS, shown, token=TOKEN, users=USERS) == 200


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/startupz", "/healthz", "/readyz/emails"])
async def test_probes_ask_for_nothing(canned: Canned, tmp_path: Path, path: str) -> None:
    assert await ask(canned, tmp_path, path, token=TOKEN, users=USERS) == 200


@pytest.mark.parametrize("path", ["/nothing", "/livez/emails/more", "//livez", "/", "/api/v1/../../livez/.."])
async def test_everything_else_is_closed_even_what_does_not_exist(canned: Canned, tmp_path: Path, path: str) -> None:
    async with served(canned.face(token=TOKEN), tmp_path) as where:
        answer = await where.raw(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 401 ")


async def test_without_credentials_configured_reading_is_open(canned: Canned, tmp_path: Path) -> None:
    assert await ask(canned, tmp_path, STATUS) == 200


async def test_the_unix_socket_asks_for_nothing(canned: Canned, tmp_path: Path) -> None:
    async with served(canned.face(token=TOKEN), tmp_path) as where, where.unix_session() as client:
        assert (await client.get(STATUS)).status == 200


async def test_a_refusal_says_why_and_what_would_do(canned: Canned, tmp_path: Path) -> None:
    async with served(canned.face(token=TOKEN, users=USERS), tmp_path) as where, where.session() as client:
        missing = await client.get(STATUS)
        assert missing.content_type == "application/problem+json"
        assert missing.headers["WWW-Authenticate"] == (
            'Bearer realm="chaperone", Basic realm="chaperone", charset="UTF-8"'
        )
        assert (await missing.json())["detail"] == "credentials are needed: a bearer token, or a user's password"
        wrong = await client.get(STATUS, headers={"Authorization": "Bearer x"})
        assert (await wrong.json())["detail"] == "the token is wrong"
        wrong = await client.get(STATUS, headers={"Authorization": basic("admin", "x")})
        assert (await wrong.json())["detail"] == "the name or the password is wrong"


async def test_what_was_verified_once_is_remembered_and_what_failed_is_not() -> None:
    access = Access(None, USERS)
    assert await access.verify(basic("admin", "pässword")) == Verified("user admin")
    assert len(access._verified) == 1
    assert await access.verify(basic("admin", "pässword")) == Verified("user admin")
    assert await access.verify(basic("admin", "wrong")) == Refuted("the name or the password is wrong")
    assert len(access._verified) == 1


def test_a_hash_made_elsewhere_matches_its_password() -> None:
    # RFC 7914, section 12: scrypt("password", "NaCl", N=1024, r=8, p=16, dkLen=64)
    digest = bytes.fromhex(
        "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b3731622eaf30d92e22a3886ff109279d9830da"
        "c727afb94a83ee6d8360cbdfa2cc0640"
    )
    made = f"$scrypt$ln=10,r=8,p=16${b64encode(b'NaCl').decode().rstrip('=')}${b64encode(digest).decode().rstrip('=')}"
    assert ScryptHash.parse(made).matches("password")
    assert not ScryptHash.parse(made).matches("Password")
    assert ScryptHash.parse(made.replace("+", ".")).digest == digest


@pytest.mark.parametrize(
    "text",
    [
        "$scrypt$salt$hash",
        "$scrypt$ln=0,r=8,p=1$c2FsdA$aGFzaGhhc2hoYXNoaGFzaA",
        "$scrypt$ln=30,r=8,p=1$c2FsdA$aGFzaGhhc2hoYXNoaGFzaA",
        "$scrypt$ln=14,r=8,p=1$a$aGFzaGhhc2hoYXNoaGFzaA",
        "plain",
    ],
)
async def test_a_hash_that_cannot_be_used_is_refused_at_the_start(canned: Canned, text: str) -> None:
    with pytest.raises(ConfigError, match=r"cannot use the password hash of http\.users\.admin: it ") as caught:
        await serve(canned.face(users=(("admin", text),)), [])
    assert text not in str(caught.value)


@pytest.fixture
def tls(tmp_path: Path) -> Tls:
    made = Tls(str(tmp_path / "cert.pem"), str(tmp_path / "key.pem"))
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    files = ["-keyout", made.key, "-out", made.cert, "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, *files], check=True, capture_output=True)
    return made


async def test_tcp_speaks_https_and_the_unix_socket_does_not(canned: Canned, tmp_path: Path, tls: Tls) -> None:
    trusting = ssl.create_default_context(cafile=tls.cert)
    async with served(canned.face(tls=tls, token=TOKEN), tmp_path) as where:
        async with aiohttp.ClientSession(
            f"https://{where.tcp}", connector=aiohttp.TCPConnector(ssl=trusting)
        ) as client:
            assert (await client.get("/livez")).status == 200
            assert (await client.get(STATUS)).status == 401
            assert (await client.get(STATUS, headers={"Authorization": f"Bearer {TOKEN}"})).status == 200
        async with where.unix_session() as client:
            assert (await client.get(STATUS)).status == 200


def test_a_certificate_that_cannot_be_used_is_explained(tmp_path: Path, tls: Tls) -> None:
    with pytest.raises(ConfigError, match=r"cannot serve HTTPS with .*: .*; both must be PEM files"):
        server_context(Tls(str(tmp_path / "missing.pem"), tls.key))
    with pytest.raises(ConfigError, match="both must be PEM files that belong together"):
        server_context(Tls(tls.key, tls.cert))
