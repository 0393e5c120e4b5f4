"""Who may come in over TCP: a bearer token, or a user's name and password. No aiohttp here."""

import hashlib
import hmac
import secrets
from base64 import b64decode
from binascii import Error as Base64Error
from dataclasses import dataclass

from anyio import CapacityLimiter, to_thread

from chaperone_async.errors import ConfigError
from chaperone_async.service.http.passwords import ScryptHash

LOOKS_AT_ONCE = 2
REMEMBERED = 64


@dataclass(frozen=True, slots=True)
class Verified:
    """`who`, as it is told in events: "token", "user admin"."""

    who: str


@dataclass(frozen=True, slots=True)
class Refuted:
    why: str


class Access:
    """Raises ConfigError for a password hash that cannot be read."""

    def __init__(self, token: str | None, users: tuple[tuple[str, str], ...]) -> None:
        self._token = None if token is None else _bytes(token)
        self._users = dict(_read(name, text) for name, text in users)
        self._key = secrets.token_bytes(32)
        self._verified: dict[bytes, str] = {}  # keyed digests of what was right, whose it is, the latest last
        self._limiter = CapacityLimiter(LOOKS_AT_ONCE)

    @property
    def open(self) -> bool:
        """No credentials are configured."""
        return self._token is None and not self._users

    @property
    def schemes(self) -> list[str]:
        """What may be shown: a `token`, a `user`'s password."""
        return ["token"] * (self._token is not None) + ["user"] * bool(self._users)

    @property
    def challenge(self) -> str:
        """For WWW-Authenticate."""
        basic = 'Basic realm="chaperone", charset="UTF-8"' if self._users else ""
        bearer = 'Bearer realm="chaperone"' if self._token is not None else ""
        return ", ".join(filter(None, (bearer, basic)))

    @property
    def _needed(self) -> str:
        token = "a bearer token" if self._token is not None else ""
        user = "a user's password" if self._users else ""
        return f"credentials are needed: {', or '.join(filter(None, (token, user)))}"

    async def verify(self, authorization: str | None) -> Verified | Refuted:
        """What a client shows in its Authorization header."""
        if not authorization:
            return Refuted(self._needed)
        scheme, _, shown = authorization.partition(" ")
        match scheme.lower():
            case "bearer" if self._token is not None:
                right = hmac.compare_digest(_bytes(shown.strip()), self._token)
                return Verified("token") if right else Refuted("the token is wrong")
            case "basic" if self._users:
                name = await self._user(shown.strip())
                return Refuted("the name or the password is wrong") if name is None else Verified(f"user {name}")
            case _:
                return Refuted(self._needed)

    async def _user(self, shown: str) -> str | None:
        try:
            name, colon, password = b64decode(shown, validate=True).decode("utf-8", "surrogateescape").partition(":")
        except (Base64Error, ValueError):
            return None
        if not colon:
            return None
        seen = hashlib.blake2b(_bytes(shown), key=self._key, digest_size=32).digest()
        if seen in self._verified:
            return self._verified[seen]
        known = self._users.get(name)
        # An unknown name takes as long as a known one.
        entry = known if known is not None else next(iter(self._users.values()))
        matches = await to_thread.run_sync(entry.matches, password, limiter=self._limiter)
        if not matches or known is None:
            return None
        while len(self._verified) >= REMEMBERED:
            del self._verified[next(iter(self._verified))]
        self._verified[seen] = name
        return name


def _read(name: str, text: str) -> tuple[str, ScryptHash]:
    try:
        return name, ScryptHash.parse(text)
    except ValueError as error:
        advice = "write one such as '$scrypt$ln=14,r=8,p=1$…$…'"
        raise ConfigError([f"cannot use the password hash of http.users.{name}: it {error}; {advice}"]) from error


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
