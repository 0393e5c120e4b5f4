"""Rows on the screen: by rich on a terminal; as aligned plain text into a pipe, for grep and awk to read."""

import os
import sys
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple, TextIO

Tone = Literal["plain", "head", "good", "warn", "bad", "dim"]
Paint = Callable[[str, Tone], str]
_GAP = "  "
_LEAST_LONG = 20
_SGR: dict[Tone, str] = {"plain": "", "head": "1", "good": "32", "warn": "33", "bad": "1;31", "dim": "2"}
_RICH: dict[Tone, str] = {
    "plain": "", "head": "bold", "good": "green", "warn": "yellow", "bad": "bold red", "dim": "dim",
}  # fmt: skip


class Cell(NamedTuple):
    text: str
    tone: Tone = "plain"


class Column(NamedTuple):
    """`long`: text that may be folded onto several lines where the terminal is narrow."""

    title: str
    right: bool = False
    long: bool = False


class Table(NamedTuple):
    columns: tuple[Column, ...]
    rows: list[tuple[Cell, ...]]


def is_coloured(stream: TextIO, env: Mapping[str, str]) -> bool:
    """https://no-color.org and https://force-color.org: they count when not empty, and NO_COLOR wins."""
    if env.get("NO_COLOR"):
        return False
    return bool(env.get("FORCE_COLOR")) or (stream.isatty() and env.get("TERM") != "dumb")


def print_table(table: Table) -> None:
    if sys.stdout.isatty():
        _print_rich(table)
    else:
        print("\n".join(plain_lines(table, painter(sys.stdout, os.environ))))


def print_line(line: Cell) -> None:
    print(painter(sys.stdout, os.environ)(printable(line.text), line.tone))


def plain_lines(table: Table, paint: Paint) -> list[str]:
    lines = [tuple(Cell(column.title, "head") for column in table.columns), *table.rows]
    lines = [tuple(Cell(printable(cell.text), cell.tone) for cell in line) for line in lines]
    widths = [max(len(cell.text) for cell in cells) for cells in zip(*lines, strict=True)]
    return [
        _GAP.join(
            paint(cell.text.rjust(width) if column.right else cell.text.ljust(width), cell.tone)
            for cell, width, column in zip(line, widths, table.columns, strict=True)
        ).rstrip()
        for line in lines
    ]


def printable(text: str) -> str:
    """What workers wrote must not steer the terminal, nor break a row."""
    return "".join(char if char.isprintable() else " " for char in text)


def painter(stream: TextIO, env: Mapping[str, str]) -> Paint:
    return in_colour if is_coloured(stream, env) else in_no_colour


def in_colour(text: str, tone: Tone) -> str:
    return f"\x1b[{_SGR[tone]}m{text}\x1b[0m" if _SGR[tone] else text


def in_no_colour(text: str, _: Tone) -> str:
    return text


def _print_rich(table: Table) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style=_RICH["head"])
    for column in table.columns:
        grid.add_column(
            column.title, justify="right" if column.right else "left", no_wrap=not column.long, overflow="fold"
        )
    for row in table.rows:
        grid.add_row(*(Text(printable(cell.text), style=_RICH[cell.tone]) for cell in row))
    coloured = is_coloured(sys.stdout, os.environ)
    console = Console(color_system="auto" if coloured else None)
    console.width = max(console.width, _least_width(table))
    console.print(grid)


def _least_width(table: Table) -> int:
    """A terminal narrower than this breaks lines by itself: an ID that is cut off cannot be copied."""
    lines = [tuple(column.title for column in table.columns), *([cell.text for cell in row] for row in table.rows)]
    widths = (max(map(len, texts)) for texts in zip(*lines, strict=True))
    least = [
        min(width, _LEAST_LONG) if column.long else width for width, column in zip(widths, table.columns, strict=True)
    ]
    return sum(least) + len(_GAP) * len(least)
