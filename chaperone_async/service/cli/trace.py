"""A recorded load as a CSV file → jobs. Columns: `at,arrivals[,service_time]`, times in seconds, rows in order."""

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from chaperone_async.core.simulation import Job
from chaperone_async.service.cli.outcome import UsageError

MOST_JOBS = 1_000_000
LONGEST = 31 * 86_400.0
_LONGEST_JOB = 86_400.0
_TOLD = 10  # problems of one file; there may be one in each line
_NEEDED, _OPTIONAL = ("at", "arrivals"), ("service_time",)


@dataclass(frozen=True, slots=True)
class Row:
    at: float
    arrivals: int
    service_time: float | None


class Trace(NamedTuple):
    jobs: list[Job]
    end: float  # of the recording: the last row's time


def read_trace(path: Path, service_time: float, *, spread: bool) -> Trace:
    """The first row is at 0. `service_time`: where the trace has none. `spread`: a row's jobs come evenly until the
    next row's; the last row's are given as long as those before. Raises UsageError with each problem's line and column.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = _read(path, csv.reader(file, strict=True))
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise UsageError(f"cannot read {path}: {why}; name a CSV file with the columns {_header()}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"cannot read {path}: it is not CSV in UTF-8 ({error}); {_example()}") from error
    begin = rows[0].at
    jobs = []
    for index, row in enumerate(rows):
        width = (rows[index + 1].at - row.at if row is not rows[-1] else row.at - rows[index - 1].at) if spread else 0.0
        service = service_time if row.service_time is None else row.service_time
        jobs += [Job(row.at - begin + width * turn / row.arrivals, service) for turn in range(row.arrivals)]
    return Trace(jobs, rows[-1].at - begin)


def _read(path: Path, lines: Iterator[list[str]]) -> list[Row]:
    columns = [name.strip() for name in next(lines, [])]
    known = set(_NEEDED) | set(_OPTIONAL)
    if not set(_NEEDED) <= set(columns) <= known or len(set(columns)) < len(columns):
        found = ",".join(columns) or "nothing"
        raise UsageError(f"cannot read {path}: line 1: the columns are {found}; write {_header()}")
    rows: list[Row] = []
    problems: list[str] = []
    for number, fields in enumerate(lines, start=2):
        if not fields:
            continue
        try:
            rows.append(_row(columns, fields, rows[-1].at if rows else None))
        except ValueError as error:
            problems.append(f"cannot read {path}: line {number}: {error}")
    if not rows and not problems:
        problems = [f"cannot read {path}: there are no rows; {_example()}"]
    if rows and rows[-1].at - rows[0].at > LONGEST:
        problems.append(f"cannot read {path}: column at: it covers more than 31 days; cut it into shorter ones")
    if sum(row.arrivals for row in rows) > MOST_JOBS:
        problems.append(f"cannot read {path}: column arrivals: these are more than {MOST_JOBS} jobs; cut it shorter")
    if problems:
        more = len(problems) - _TOLD
        raise UsageError("\n".join([*problems[:_TOLD], *([f"and {more} more of this kind"] if more > 0 else [])]))
    return rows


def _row(columns: list[str], fields: list[str], before: float | None) -> Row:
    if len(fields) != len(columns):
        raise ValueError(f"it has {len(fields)} fields; write {len(columns)}: {','.join(columns)}")
    texts = dict(zip(columns, (field.strip() for field in fields), strict=True))
    at = _number("at", texts["at"], math.inf)
    if before is not None and at < before:
        raise ValueError(f"column at: {texts['at']} is earlier than the line before; put the rows in order of time")
    if not (texts["arrivals"].isascii() and texts["arrivals"].isdigit() and len(texts["arrivals"]) < 10):
        raise ValueError(f"column arrivals: {texts['arrivals']!r} is not a count; write a whole number such as 5")
    service = texts.get("service_time", "")
    return Row(at, int(texts["arrivals"]), _number("service_time", service, _LONGEST_JOB) if service else None)


def _number(column: str, text: str, most: float) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= most or math.isinf(number):
        upto = "" if math.isinf(most) else f", at most {most:g}"
        raise ValueError(f"column {column}: {text!r} is not a time; write seconds such as 12.5{upto}")
    return number


def _header() -> str:
    return f"{','.join(_NEEDED)}[,{','.join(_OPTIONAL)}]"


def _example() -> str:
    return f"write {_header()} on the first line, and rows such as 0,12,0.5"
