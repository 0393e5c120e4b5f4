"""Texts with a form: commands, addresses, names. Each type reads one kind; `units` tells of `parse` and its fellows."""

import re
from typing import Any, ClassVar, Self

from chaperone_async.system.config.problems import advise
from chaperone_async.system.config.units import Schema
from chaperone_async.system.environment import HIGHEST_ID

_BRACKETED = r"\[[0-9A-Fa-f:.]+(?:%\w+)?\]"
_HOST = rf"(?:{_BRACKETED}|[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?)"
_PORT = "(?:[0-5]?[0-9]{1,4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"  # for schemas: up to 65535
_ADDRESS = rf"{_HOST}:([0-9]{{1,5}})"
_PLACEHOLDER = re.compile(r"\{(?:queue|pool|slot|worker_id)\}")
_NAME = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
_NOT_UTF_8 = re.compile("[\ud800-\udfff]")  # bytes of an argument or a variable come as these: JSON has none
_LONGEST_SOCKET_PATH = 107  # sun_path of 108 bytes, less the closing NUL


class Text(str):
    """Text of one form. Where the form allows it, empty text stands for nothing, as from `${NAME:-}`."""

    __slots__ = ()
    form: ClassVar[str] = r"[^\x00-\x1f\x7f]*"
    why: ClassVar[str] = 'is not text on one line; write it in quotes, such as "name"'

    @classmethod
    def parse(cls, value: object) -> Self:
        if isinstance(value, str) and re.fullmatch(cls.form, value):
            return cls(value)
        raise ValueError(cls.why)

    @classmethod
    def schema(cls) -> Schema:
        return {"type": "string", "pattern": f"^(?:{cls.form})$"}


class InstanceName(Text):
    """As it stands in every answer."""

    __slots__ = ()
    why = 'is not text on one line, in UTF-8; write it in quotes, such as "orders"'

    @classmethod
    def parse(cls, value: object) -> Self:
        name = super().parse(value)
        if _NOT_UTF_8.search(name):
            raise ValueError(cls.why)
        return name


class Account(Text):
    """A user or group, by name or number."""

    __slots__ = ()
    form = r"[^\s:/]*"
    why = f'is not an account; write a name such as "www-data", or a number up to {HIGHEST_ID}'

    @classmethod
    def parse(cls, value: object) -> Self:
        account = super().parse(str(value) if type(value) is int else value)
        if account.removeprefix("-").isdecimal() and not 0 <= int(account) <= HIGHEST_ID:
            raise ValueError(cls.why)
        return account

    @classmethod
    def schema(cls) -> Schema:
        return super().schema() | {"type": ["string", "integer"], "minimum": 0, "maximum": HIGHEST_ID}


class Token(Text):
    __slots__ = ()
    form = "[!-~]*"
    why = "is not a token; write printable ASCII text without spaces"


class PasswordHash(Text):
    __slots__ = ()
    form = r"\$scrypt\$ln=(\d{1,2}),r=(\d{1,4}),p=(\d{1,4})\$([A-Za-z0-9+/.]+)\$([A-Za-z0-9+/.]{16,})"
    why = "is not a scrypt password hash as passlib writes them; it is of the form $scrypt$ln=14,r=8,p=1$salt$hash"


class UserName(Text):
    __slots__ = ()
    form = "[!-9;-~]+"
    why = "is not a user name; use printable ASCII characters except space and colon"


class PoolName(Text):
    __slots__ = ()
    form = "(?!all$)[A-Za-z0-9_.-]{1,64}"
    why = "cannot be a pool's name; use 1 to 64 of the characters A-Z a-z 0-9 _ . - but not 'all'"


class VariableName(Text):
    __slots__ = ()
    form = r"[^=\x00]+"
    why = "cannot be the name of a variable; write one such as DATABASE_URL"


class Variable(Text):
    """An environment variable's value. true and false are refused: programs disagree on how to spell them."""

    __slots__ = ()
    form = r"[^\x00]*"
    why = 'is neither text nor a number; quote it the way the program wants it, such as "true" or "1"'

    @classmethod
    def parse(cls, value: object) -> Self:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return super().parse(str(value) if is_number else value)

    @classmethod
    def schema(cls) -> Schema:
        return super().schema() | {"type": ["string", "number"]}


class LimitName(Text):
    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Self:
        known = cls._known()
        if value not in known:
            raise ValueError(f"is not a resource limit; {advise(str(value), known)}")
        return super().parse(value)

    @classmethod
    def schema(cls) -> Schema:
        return {"enum": cls._known()}

    @staticmethod
    def _known() -> list[str]:
        import resource

        return [name.removeprefix("RLIMIT_").lower() for name in dir(resource) if name.startswith("RLIMIT_")]


class SignalName(Text):
    """`SIGTERM`, or `TERM` for short."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Self:
        from signal import Signals

        name = f"SIG{value.upper().removeprefix('SIG')}" if isinstance(value, str) else ""
        if name not in Signals.__members__:
            raise ValueError(f"is not a signal; {advise(name, Signals.__members__)}")
        return cls(name)

    @classmethod
    def schema(cls) -> Schema:
        from signal import Signals

        names = "|".join(name.removeprefix("SIG") for name in Signals.__members__)
        return {
            "type": "string",
            "pattern": f"^(?:SIG|sig)?(?:{names}|{names.lower()})$",
            "examples": ["SIGTERM", "QUIT"],
        }


class HttpUrl(Text):
    __slots__ = ()
    form = r"(?:https?://[^\s/?#]+\S*)?"
    why = 'is not a URL; write one such as "http://127.0.0.1:80{slot}/health"'


class RedisKey(Text):
    """A server, and behind # the key to look at there."""

    __slots__ = ()
    form = r"(?:(?:rediss?|unix)://[^\s#]*#\S+)?"
    why = 'is not a URL with a key; write one such as "redis://localhost/0#emails"'


class RabbitmqQueue(Text):
    """A server, and behind # the queue."""

    __slots__ = ()
    form = r"(?:amqps?://[^\s#]*#\S+)?"
    why = 'is not a URL with a queue; write one such as "amqp://localhost/#emails"'


class SqlUrl(Text):
    __slots__ = ()
    form = r"(?:(?:postgres(?:ql)?|mysql|mariadb|sqlite)://\S+)?"
    why = 'is not a database URL; write one such as "postgresql://app@localhost/app" or "sqlite:///jobs.db"'


class JsonPointer(Text):
    __slots__ = ()
    form = r"(?:/(?:[^~]|~[01])*)?"
    why = 'is not a JSON pointer (RFC 6901); write one such as "/queues/0/depth"'


class TcpAddress(Text):
    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Self:
        if isinstance(value, str) and (not value or 0 < _port(_PLACEHOLDER.sub("1", value)) < 1 << 16):
            return cls(value)
        raise ValueError('is not an address; write host:port such as "127.0.0.1:1234"')

    @classmethod
    def schema(cls) -> Schema:
        port = f"(?:{_PORT}|[0-9]*(?:{_PLACEHOLDER.pattern}[0-9]*)+)"
        return {"type": "string", "pattern": f"^(?:(?:{_BRACKETED}|[^:/]+):{port})?$", "examples": ["127.0.0.1:1234"]}


class FunctionPath(Text):
    __slots__ = ()
    form = f"(?:{_NAME}:{_NAME})?"
    why = 'does not name a function; write module:function such as "myapp.checks:healthy"'


class Listener(Text):
    """`host:port`, with IPv6 in brackets, or `unix:/path`."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Self:
        if isinstance(value, str) and value.startswith("unix:/"):
            if len(value.removeprefix("unix:").encode(errors="surrogateescape")) > _LONGEST_SOCKET_PATH:
                raise ValueError(f"is too long for a socket; use a path of at most {_LONGEST_SOCKET_PATH} bytes")
            return super().parse(value)
        if isinstance(value, str) and 0 <= _port(value) < 1 << 16:
            return cls(value)
        raise ValueError('is not an address; write "127.0.0.1:9001", "[::1]:9001" or "unix:/run/chaperone.sock"')

    @classmethod
    def schema(cls) -> Schema:
        path = rf"unix:/[^\x00-\x1f\x7f]{{0,{_LONGEST_SOCKET_PATH - 1}}}"
        return {"type": "string", "pattern": f"^(?:{path}|{_HOST}:{_PORT})$", "examples": ["127.0.0.1:9001"]}


def _port(address: str) -> int:
    """-1 for what is not `host:port`."""
    match = re.fullmatch(_ADDRESS, address)
    return int(match[1]) if match else -1


class Command(tuple[str, ...]):
    """A program and its arguments: a list, or one text split as a shell would."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Self:
        words = cls._split(value) if isinstance(value, str) else value
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise ValueError('is not a command; write text, or a list of texts such as ["python", "worker.py"]')
        if not words or not words[0]:
            raise ValueError('names no program; write one such as "python worker.py"')
        return cls(words)

    @classmethod
    def schema(cls) -> Schema:
        words = {"type": "array", "items": {"type": "string"}, "prefixItems": [{"minLength": 1}], "minItems": 1}
        return {"anyOf": [{"type": "string", "pattern": r"[^ \t\r\n]"}, words], "examples": ["python worker.py"]}

    @staticmethod
    def _split(text: str) -> list[str]:
        import shlex

        try:
            return shlex.split(text)
        except ValueError as error:
            raise ValueError(f"cannot be split: {str(error).lower()}; close the quote, or write a list") from error


class Queues(tuple[str, ...]):
    """Queue names in order of priority; one alone may stand without a list."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: Any) -> Self:
        names = value if isinstance(value, list) else [value]
        if not names or not all(isinstance(name, str) and _is_queue(name) for name in names):
            raise ValueError('does not name queues; write "emails", or a list by priority: ["high", "default"]')
        return cls(dict.fromkeys(names))

    @classmethod
    def write(cls, names: tuple[str, ...]) -> str | list[str]:
        return names[0] if len(names) == 1 else list(names)

    @classmethod
    def schema(cls) -> Schema:
        name = {"type": "string", "pattern": "^[^,]+$"}
        return {"anyOf": [name, {"type": "array", "items": name, "minItems": 1}], "examples": ["emails"]}


def _is_queue(name: str) -> bool:
    return name != "" and "," not in name and not _NOT_UTF_8.search(name)


class BackendName(Text):
    """Its module is not loaded before the pool is built: see `backend_of`."""

    __slots__ = ()
    form = r"[A-Za-z0-9_.-]*"
    why = 'is not a backend\'s name; write one such as "celery"'


class Later:
    """A documented key that this version cannot honour: better refused than ignored."""

    why: ClassVar[str] = "is not supported by this version; remove this key"

    @classmethod
    def parse(cls, _: object) -> Self:
        raise ValueError(cls.why)
