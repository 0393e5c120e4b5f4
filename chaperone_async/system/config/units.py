"""Numbers as operators write them: `"1h30m"`, `"512MB"`, `5`, `"5"`. Each type reads one kind, into base units.

`parse` raises ValueError with what goes on from the value: `is not a whole number; write a count such as 5`. `write` is
its reverse: the value as one would put it into the file. `schema` tells it to editors, as JSON Schema.
"""

import math
import re
from typing import Any, ClassVar, Self

_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION_PART = r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h|d)\s*"
_SIZE_UNITS = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_SIZE_UNITS |= {"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40}
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
_MEGABYTE = 10**6
_LEGIBLE_SIZES = ("GB", "GiB", "MB", "MiB", "KB", "KiB", "B")
_PLAIN = r"[0-9]+(?:\.[0-9]+)?"
Schema = dict[str, Any]


def to_number(value: object) -> float:
    """A number, or text that is one; NaN for all else, infinity for what is past any use. bool is no number."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return math.nan
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf


def to_seconds(value: object) -> float:
    """`"1h30m"`, `"500ms"`, `"2d"`, or bare seconds; NaN for what is not a duration."""
    if isinstance(value, str) and re.fullmatch(f"(?:{_DURATION_PART})+", value):
        return sum(float(number) * _DURATION_UNITS[unit] for number, unit in re.findall(_DURATION_PART, value))
    return to_number(value)


def to_bytes(value: object) -> float:
    """`"512MB"` (10^6), `"1.5GiB"` (2^30), or bare MB; NaN for what is not a size."""
    if isinstance(value, str) and (match := re.fullmatch(r"([0-9.]+)\s*([KMGT]?i?B)", value, re.IGNORECASE)):
        return to_number(match[1]) * _SIZE_UNITS.get(match[2].lower(), math.nan)
    return to_number(value) * _MEGABYTE


def _shortest(number: float) -> float:
    """2 for 2.0."""
    return int(number) if number % 1 == 0 else number


_LONGEST = 36_500 * 86_400.0


class Duration(float):
    """Seconds, from zero to a hundred years."""

    @classmethod
    def parse(cls, value: object) -> Self:
        seconds = to_seconds(value)
        if not math.isfinite(seconds):
            raise ValueError('is not a duration; write seconds such as 30, or "500ms", "30s", "1h30m", "2d"')
        if seconds < 0:
            raise ValueError('is negative; write a duration such as "30s", or 0')
        if seconds > _LONGEST:
            raise ValueError('is longer than 100 years; write at most "36500d"')
        return cls(seconds)

    @classmethod
    def write(cls, seconds: float) -> float | str:
        rest, text = round(seconds * 1000), ""
        for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
            count, rest = divmod(rest, size)
            text += f"{count}{unit}" if count else ""
        return text if text and to_seconds(text) == seconds else _shortest(seconds)

    @classmethod
    def schema(cls) -> Schema:
        return {
            "description": "A duration: bare seconds, or a text with units.",
            "type": ["number", "string"],
            "minimum": 0,
            "maximum": _LONGEST,
            "pattern": rf"^(?:(?:{_PLAIN}\s*(?:ms|s|m|h|d)\s*)+|{_PLAIN})$",
            "examples": ["30s", "1h30m", "500ms", 5],
        }


class PositiveDuration(Duration):
    @classmethod
    def parse(cls, value: object) -> Self:
        if to_seconds(value) == 0:
            raise ValueError('must be longer than 0; write a duration such as "5s"')
        return super().parse(value)

    @classmethod
    def schema(cls) -> Schema:
        schema = super().schema()
        del schema["minimum"]
        return schema | {"exclusiveMinimum": 0, "pattern": schema["pattern"].replace("^", "^(?=.*[1-9])", 1)}


class Target(PositiveDuration):
    """Jobs, or a time: a bare number reads the same for both."""

    @classmethod
    def parse(cls, value: object) -> Self:
        if not 0 < to_seconds(value) < math.inf:
            raise ValueError('is not a target; write jobs such as 10, or a time such as "2s"')
        return super().parse(value)


class Size(int):
    """Bytes, zero or more."""

    @classmethod
    def parse(cls, value: object) -> Self:
        size = to_bytes(value)
        if not math.isfinite(size) or size >= 1 << 63:
            raise ValueError('is not a size; write MB such as 512, or "800KB", "512MB", "1.5GiB"')
        if size < 0:
            raise ValueError('is negative; write a size such as "512MB", or 0')
        return cls(size)

    @classmethod
    def write(cls, size: int) -> int | str:
        units = (unit for unit in _LEGIBLE_SIZES if size and size % _SIZE_UNITS[unit.lower()] == 0)
        return next((f"{size // _SIZE_UNITS[unit.lower()]}{unit}" for unit in units), 0)

    @classmethod
    def schema(cls) -> Schema:
        return {
            "description": "A size: bare MB (10^6 bytes), or a text with a unit.",
            "type": ["number", "string"],
            "minimum": 0,
            "pattern": rf"^{_PLAIN}(?:\s*(?:[KMGTkmgt][Ii]?)?[Bb])?$",
            "examples": ["512MB", "1.5GiB", 512],
        }


class Count(int):
    least: ClassVar[int] = 0
    most: ClassVar[int] = 1_000_000
    example: ClassVar[str] = "a count such as 5"

    @classmethod
    def parse(cls, value: object) -> Self:
        number = to_number(value)
        if isinstance(value, float) or math.isnan(number) or (math.isfinite(number) and number % 1):
            raise ValueError(f"is not a whole number; write {cls.example}")
        if not cls.least <= number <= cls.most:
            raise ValueError(f"is out of range; write a whole number from {cls.least} to {cls.most}")
        return cls(number)

    @classmethod
    def schema(cls) -> Schema:
        return {
            "description": f"A whole number from {cls.least} to {cls.most}.",
            "type": ["integer", "string"],
            "minimum": cls.least,
            "maximum": cls.most,
            "pattern": rf"^{'-?' if cls.least < 0 else ''}[0-9]+(?:\.0+)?$",
        }


class PositiveCount(Count):
    least = 1


class ExitCode(Count):
    most = 255
    example = "an exit code from 0 to 255"


class Niceness(Count):
    least, most = -20, 19
    example = "a nice value from -20 to 19"


class Workers(Count):
    """A count, or `{ min, max }`: then this is the least, and `max` the most."""

    most = 100_000
    max: int | None = None

    @classmethod
    def parse(cls, value: object) -> Self:
        if not isinstance(value, dict):
            return super().parse(value)
        if value.keys() != {"min", "max"}:
            raise ValueError("has to name both bounds, and nothing else; write { min = 1, max = 10 }")
        least, most = super().parse(value["min"]), super().parse(value["max"])
        if not least <= most or most == 0:
            raise ValueError("has no room between its bounds; write { min = 1, max = 10 }, max not under min")
        least.max = int(most)
        return least

    @classmethod
    def write(cls, workers: int) -> Any:
        most = getattr(workers, "max", None)
        return int(workers) if most is None else {"min": int(workers), "max": most}

    @classmethod
    def schema(cls) -> Schema:
        count = super().schema()
        bound = {"anyOf": [count, {"$ref": "#/$defs/Reference"}]}
        bounds = {
            "type": "object",
            "properties": {"min": bound, "max": bound},
            "required": ["min", "max"],
            "additionalProperties": False,
        }
        return {"anyOf": [count, bounds]}


class ResourceLimit(int):
    """-1 is unlimited."""

    @classmethod
    def parse(cls, value: object) -> Self:
        if value == "unlimited":
            return cls(-1)
        if isinstance(value, str) and re.fullmatch("[0-9]{1,19}", value):
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63:
            return cls(value)
        raise ValueError('is not a limit; write a whole number such as 4096, or "unlimited"')

    @classmethod
    def write(cls, limit: int) -> int | str:
        return "unlimited" if limit == -1 else limit

    @classmethod
    def schema(cls) -> Schema:
        return {
            "description": 'A whole number, or "unlimited".',
            "type": ["integer", "string"],
            "minimum": 0,
            "pattern": "^(?:unlimited|[0-9]{1,19})$",
        }


class Umask(int):
    @classmethod
    def parse(cls, value: object) -> Self:
        if not isinstance(value, str) or not re.fullmatch("0?[0-7]{1,3}", value):
            raise ValueError('is not a umask; write it in octal and in quotes, such as "022"')
        return cls(int(value, 8))

    @classmethod
    def write(cls, mask: int) -> str:
        return f"{mask:03o}"

    @classmethod
    def schema(cls) -> Schema:
        return {"description": "Octal, in quotes.", "type": "string", "pattern": "^0?[0-7]{1,3}$", "examples": ["022"]}


class SocketMode(int):
    """The permissions of a unix socket."""

    @classmethod
    def parse(cls, value: object) -> Self:
        if not isinstance(value, str) or not re.fullmatch("0?[0-7]{3}", value):
            raise ValueError('is not a file mode; write it in octal and in quotes, such as "0660"')
        return cls(int(value, 8))

    @classmethod
    def write(cls, mode: int) -> str:
        return f"{mode:04o}"

    @classmethod
    def schema(cls) -> Schema:
        return {"description": "Octal, in quotes.", "type": "string", "pattern": "^0?[0-7]{3}$", "examples": ["0660"]}


class Share(float):
    least: ClassVar[float] = 0
    most: ClassVar[float] = 1
    why: ClassVar[str] = "is not a share; write a number from 0 to 1, such as 0.1"

    @classmethod
    def parse(cls, value: object) -> Self:
        number = to_number(value)
        if not cls.least <= number <= cls.most:
            raise ValueError(cls.why)
        return cls(number)

    @classmethod
    def write(cls, number: float) -> float:
        return _shortest(number)

    @classmethod
    def schema(cls) -> Schema:
        return {
            "description": f"A number from {cls.least} to {cls.most}.",
            "type": ["number", "string"],
            "minimum": cls.least,
            "maximum": cls.most,
            "pattern": f"^{_PLAIN}$",
        }


class Factor(Share):
    least, most = 1, 1000
    why = "is not a factor; write a number from 1 to 1000, such as 2"
