"""Somebody sets the machine's clock: shown times follow, and nothing is decided by it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import chaperone_async
from chaperone_async.system import clock
from chaperone_async.system.clock import STEP, WallClock

ROOT = Path(chaperone_async.__file__).parent
DECIDING = sorted([*(ROOT / "core").rglob("*.py"), *(ROOT / "supervision").rglob("*.py")])


def test_a_shown_time_follows_a_clock_that_was_set_but_not_one_that_drifts(monkeypatch: pytest.MonkeyPatch) -> None:
    offset = 1_000_000.0
    monkeypatch.setattr(clock, "_offset", lambda: offset)
    wall = WallClock()
    before = wall.at(5)
    offset += STEP / 2
    assert wall.at(5) == before
    offset += 3600
    assert (wall.at(5) - before).total_seconds() == pytest.approx(3600 + STEP / 2)
    offset -= 7200
    assert wall.at(5) < before


def named(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{name.name}" for name in node.names)
        elif isinstance(node, ast.Attribute):
            yield node.attr


@pytest.mark.parametrize("module", DECIDING, ids=lambda path: path.stem)
def test_what_decides_never_asks_for_the_wall_time(module: Path) -> None:
    used = set(named(ast.parse(module.read_text())))
    assert not used & {"time", "time.time", "time.time_ns", "utcnow", "today", "datetime.now", "localtime", "gmtime"}
