"""Configurations written to a directory of their own, and loaded from there."""

from collections.abc import Callable
from pathlib import Path

import pytest

from chaperone_async.errors import ConfigError
from chaperone_async.system.config.load import Config, load

Write = Callable[..., Path]
Load = Callable[..., Config]
Refuse = Callable[..., list[str]]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a file into the working directory."""
    monkeypatch.chdir(tmp_path)

    def write_file(text: str, name: str = "chaperone.toml") -> Path:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write_file


@pytest.fixture
def loaded(write: Write) -> Load:
    def load_text(text: str, **env: str) -> Config:
        return load(write(text), env)

    return load_text


@pytest.fixture
def refused(loaded: Load) -> Refuse:
    """The problems of a configuration that must not be accepted."""

    def refuse(text: str, **env: str) -> list[str]:
        with pytest.raises(ConfigError) as error:
            loaded(text, **env)
        return error.value.problems

    return refuse
