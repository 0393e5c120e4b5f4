"""What must not be shown: which names promise a secret, and a text without the secrets in it."""

import re
from collections.abc import Iterable, Sequence

MASKED = "***"
_NAME = re.compile(r"token|secret|pass|key|credential", re.IGNORECASE)
_URL_PASSWORD = re.compile(r"(?<=://)[^/@\s]*:[^/\s]*@")
_IN_QUERY = re.compile(r"(?<=[?&])((?:\w*password|\w*token|\w*secret|\w*key)=)[^&#\s]+", re.IGNORECASE)
SHORTEST_PART = 4
"""Of what is masked within a text. Anything shorter is in many a text by chance, and is masked where it is alone."""


def is_secret_name(name: str) -> bool:
    """Of an environment variable."""
    return _NAME.search(name) is not None


def is_secret_key(keys: Sequence[str]) -> bool:
    """Whether a value at this path of the configuration must not be shown, whatever it is."""
    names = [key for key in keys if not key.startswith("[")]
    parent, last = ("", "", *names)[-2:]
    if last in {"token", "users", "env"} or names[-3:-1] == ["http", "users"]:
        return True
    return parent == "env" and is_secret_name(last)


def mask(text: str, hidden: Iterable[str] = ()) -> str:
    """Without passwords in URLs, and without these values (`Config.hidden`: those of secret environment variables)."""
    for secret in sorted(hidden, key=len, reverse=True):  # one may be a part of another
        if text == secret:
            return MASKED
        if len(secret) >= SHORTEST_PART:
            text = text.replace(secret, MASKED)
    return _IN_QUERY.sub(rf"\1{MASKED}", _URL_PASSWORD.sub(f"{MASKED}@", text))
