"""The fingerprint of a configuration: another content is always seen, however alike the files look from outside."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from chaperone_async.system.config.watch import fingerprint
from tests.system.config.conftest import Write

POOL = "[pools.emails]\ncommand = 'sleep 1'\nworkers = 1\n"
MAIN = Path("chaperone.toml")


def look() -> str:
    return fingerprint(MAIN, {})


def by_rename(text: str) -> None:
    beside = Path("beside.toml")
    beside.write_text(text)
    beside.rename(MAIN)


@pytest.mark.parametrize("put", [MAIN.write_text, by_rename])
def test_an_edit_is_seen_though_size_and_time_stay_the_same(write: Write, put: Callable[[str], object]) -> None:
    write(POOL)
    os.utime(MAIN, (0, 0))
    before = look()
    put(POOL.replace("1", "2"))
    os.utime(MAIN, (0, 0))
    assert look() != before


def test_every_swap_of_a_mounted_configmap_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    MAIN.symlink_to("..data/chaperone.toml")
    seen = []
    for number in range(10):
        publish(tmp_path, f"..2026_{number % 2}", POOL.replace("1", str(number % 10)))
        seen.append(look())
    assert len(set(seen)) == 10


def publish(mount: Path, version: str, text: str) -> None:
    """As a kubelet does it; names come again, and every time and size is the same."""
    content = mount / version
    content.mkdir(exist_ok=True)
    (content / "chaperone.toml").write_text(text)
    os.utime(content / "chaperone.toml", (0, 0))
    os.utime(content, (0, 0))
    (mount / "..data_tmp").symlink_to(version)
    (mount / "..data_tmp").rename(mount / "..data")


def test_included_files_and_new_ones_and_env_files_and_the_certificate_are_seen(write: Write) -> None:
    write('include = ["conf.d/*.toml"]\nhttp.tls = { cert = "cert.pem", key = "key.pem" }\n' + POOL)
    write("[pools.a]\nenv_file = '.env'\n", "conf.d/a.toml")
    seen = [look()]
    for text, name in (
        ("[pools.a]\nenv_file = '.env'\nworkers = 2\n", "conf.d/a.toml"),
        ("[pools.b]\n", "conf.d/b.toml"),
        ("A=1\n", ".env"),
        ("A=2\n", ".env"),
        ("renewed", "cert.pem"),
        ("renewed", "key.pem"),
    ):
        write(text, name)
        seen.append(look())
    Path("conf.d/b.toml").unlink()
    seen.append(look())
    assert len(set(seen)) == len(seen)


def test_a_broken_file_has_one_fingerprint_and_the_mended_one_its_own_again(write: Write) -> None:
    write(POOL)
    good = look()
    write("[pools")
    broken = look()
    assert broken == look() != good
    write(POOL)
    assert look() == good


def test_what_changes_nothing_is_not_seen(write: Write) -> None:
    write(POOL)
    before = look()
    write(f"# a word to the reader\n{POOL}")
    assert look() == before
