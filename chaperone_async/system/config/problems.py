"""Everything that is wrong with a configuration, collected, so that it can be told at once; secrets stay untold."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from chaperone_async.errors import ConfigError
from chaperone_async.system.config.secrets import MASKED, is_secret_key, mask

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SHOWN = 60


class Place(NamedTuple):
    """A key (or `list[2]`) in a file."""

    file: str
    keys: tuple[str, ...] = ()

    def __truediv__(self, key: str) -> "Place":
        return Place(self.file, (*self.keys, key))

    def item(self, index: int) -> "Place":
        return Place(self.file, (*self.keys, f"[{index}]"))

    def below(self, path: str) -> "Place":
        """`stop.timeout` of the table here."""
        return Place(self.file, (*self.keys, *path.split(".")))

    @property
    def key(self) -> str:
        """The path as one would write it in TOML: `pools."a.b".workers`."""
        path = ""
        for key in self.keys:
            if key.startswith("["):
                path += key
            else:
                path += "." * bool(path) + (key if _BARE_KEY.fullmatch(key) else f'"{key}"')
        return path

    @property
    def secret(self) -> bool:
        """Whether a value here must not be shown."""
        return is_secret_key(self.keys)


class Problems:
    """One line per problem, in the order found, each once: `FILE: pools.email.workers: 'five' is not …`."""

    def __init__(self) -> None:
        self._lines: dict[str, None] = {}
        self._places: set[Place] = set()
        self._secrets: set[str] = set()

    def add(self, at: Place, text: str) -> None:
        self._places.add(at)
        self._lines[": ".join(part for part in (at.file, at.key, mask(text, self._secrets)) if part)] = None

    def refuse(self, at: Place, value: object, why: str) -> None:
        """`why` goes on from the value: `is not a whole number; write a count such as 5`."""
        self.add(at, f"{self._show(at, value)} {why}")

    def unknown(self, at: Place, known: Iterable[str]) -> None:
        self.add(at, f"unknown key; {advise(at.keys[-1], known)}")

    def hide(self, secret: str) -> None:
        """A value that came from a secret of the environment: masked wherever it turns up."""
        if secret:
            self._secrets.add(secret)

    @property
    def hidden(self) -> frozenset[str]:
        return frozenset(self._secrets)

    def touch(self, at: Place) -> bool:
        """Whether something here, below, or of which this is a part, was found wrong."""
        return any(
            place.file == at.file and all(mine == theirs for mine, theirs in zip(place.keys, at.keys, strict=False))
            for place in self._places
        )

    def raise_if_any(self) -> None:
        if self._lines:
            raise ConfigError(list(self._lines))

    def _show(self, at: Place, value: object) -> str:
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, dict):
            return "a table"
        if at.secret:
            return repr(MASKED)
        if isinstance(value, list):
            items = ", ".join(self._show(at.item(index), item) for index, item in enumerate(value[:_SHOWN]))
            return _shorten(f"[{items}]")
        if not isinstance(value, str):
            return _shorten(str(value)) if not isinstance(value, int) or abs(value) < 10**_SHOWN else "a huge number"
        return _shorten(repr(mask(value, self._secrets)))


def _shorten(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def advise(word: str, known: Iterable[str]) -> str:
    """`did you mean 'interval'?`, or else all there is to choose from."""
    from difflib import get_close_matches

    known = sorted(known)
    near = get_close_matches(word, known, n=1)
    return f"did you mean '{near[0]}'?" if near else f"valid are {', '.join(known)}"
