"""Whether the configuration's files hold something else than before: by their content, for times and inode numbers may
come again. A mounted ConfigMap is swapped by a symbolic link, under which every name and time can stay the same."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from chaperone_async.errors import ConfigError
from chaperone_async.system.config.find import find_document
from chaperone_async.system.config.problems import Problems
from chaperone_async.system.config.read import read_all


def fingerprint(path: Path | None, env: Mapping[str, str]) -> str:
    """Of all that the configuration is made of: its files with what they include, the env_files of its pools, and the
    certificate. What cannot be read has one too: what is wrong with it."""
    from hashlib import sha256

    digest = sha256()
    try:
        document = find_document(path, env)
        documents = [] if document is None else read_all(document, env, Problems())
    except ConfigError as error:
        return sha256(str(error).encode()).hexdigest()
    for part in documents:
        digest.update(repr((str(part.path), part.table)).encode("utf-8", "surrogateescape"))
        for name in (*_env_files(part.table), *_certificate(part.table)):
            digest.update((digest_of(name) or "none").encode())
    return digest.hexdigest()


def digest_of(name: str) -> str | None:
    """Of a file's content; None for one that cannot be read."""
    from hashlib import sha256

    try:
        return sha256(Path(os.fsdecode(name)).read_bytes()).hexdigest()[:16]
    except (OSError, ValueError):
        return None


def _certificate(table: dict[str, Any]) -> Iterator[str]:
    http = table.get("http")
    tls = http.get("tls") if isinstance(http, dict) else None
    for key in ("cert", "key"):
        name = tls.get(key) if isinstance(tls, dict) else None
        if isinstance(name, str):
            yield name


def _env_files(table: dict[str, Any]) -> Iterator[str]:
    pools = table.get("pools")
    for pool in (table.get("defaults"), *(pools.values() if isinstance(pools, dict) else ())):
        name = pool.get("env_file") if isinstance(pool, dict) else None
        if isinstance(name, str):
            yield name
