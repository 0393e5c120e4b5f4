"""Values as TOML writes them."""

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def literal(value: Any) -> str:
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{key_word(str(key))} = {literal(item)}" for key, item in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else str(value)
    if isinstance(value, int):
        return str(value)
    return quoted(str(value))


def quoted(text: str) -> str:
    """In single quotes where that saves escapes. TOML's escapes are JSON's, and DEL must be one."""
    if ('"' in text or "\\" in text) and "'" not in text and text.isprintable():
        return f"'{text}'"
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def key_word(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else quoted(key)


def key_path(keys: Iterable[str]) -> str:
    """`pools."a.b"`."""
    return ".".join(map(key_word, keys))


def unexpanded(value: Any) -> Any:
    """As it must be written, so that no `${NAME}` in it is expanded."""
    if isinstance(value, list):
        return [unexpanded(item) for item in value]
    return re.sub(r"\$(?=[${])", "$$", value) if isinstance(value, str) else value
