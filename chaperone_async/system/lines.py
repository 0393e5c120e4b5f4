"""What is done to lines of output between a worker and the supervisor's stdout: long ones folded, all of them dressed.

A *block* is bytes made of whole lines, each ended by a newline. Text is handled a block at a time by the C code of
`bytes`; only JSON looks at single lines.
"""

import time
from collections.abc import Callable
from typing import Literal

import orjson

LogFormat = Literal["text", "json"]
Dress = Callable[[bytes], bytes]

MAX_LINE = 16 << 10
FOLD = " …\n… ".encode()  # ends the first part, and opens the next


def fold(data: bytes) -> bytes:
    """Break lines longer than MAX_LINE, and no character, in two; `data` may end in an unfinished line."""
    parts: list[bytes] = []
    done = at = 0
    while len(data) - at > MAX_LINE:
        newline = data.rfind(b"\n", at, at + MAX_LINE + 1)
        if newline >= 0:
            at = newline + 1
            continue
        cut = _character_start(data, at + MAX_LINE)
        parts += data[done:cut], FOLD
        done = at = cut
    if not parts:
        return data
    return b"".join([*parts, data[done:]])


def _character_start(data: bytes, at: int) -> int:
    for start in range(at, at - 4, -1):
        if data[start] & 0xC0 != 0x80:  # not a continuation byte of UTF-8
            return start
    return at  # not UTF-8: any place is as good


def dress_text(worker_id: str) -> Dress:
    """`<worker_id> | <line>`"""
    prefix = f"{worker_id} | ".encode()
    between = b"\n" + prefix

    def dress(block: bytes) -> bytes:
        return b"%b%b\n" % (prefix, _valid(block)[:-1].replace(b"\n", between))

    return dress


def dress_json(pool: str, slot: int, worker_id: str) -> Dress:
    """One object a line. A line that is an object itself keeps all its fields, and gets those of ours it has not."""
    ours = tuple(
        (key, b'"%b":%b' % (key.encode(), orjson.dumps(value)))
        for key, value in (("pool", pool), ("worker", worker_id), ("slot", slot))
    )
    whose = b",".join(pair for _, pair in ours)

    def dress(block: bytes) -> bytes:
        now = b'"time":"%b"' % rfc3339(time.time()).encode()
        head = b"{%b,%b" % (now, whose)
        lines: list[bytes] = []
        for line in _valid(block)[:-1].split(b"\n"):
            fields = _own_fields(line)
            if fields is None:
                lines.append(b'%b,"message":%b}' % (head, orjson.dumps(line.decode())))
                continue
            # Ours are put in front of the line's own text: its numbers and their digits stay as they were written.
            missing = [pair for key, pair in (("time", now), *ours) if key not in fields]
            rest = line.strip()[1:]
            lines.append(b"{%b%b%b" % (b",".join(missing), b"," if missing and fields else b"", rest))
        return b"\n".join([*lines, b""])

    return dress


def rfc3339(at: float) -> str:
    """Unix seconds as `2026-11-23T10:00:00.123Z`."""
    millis = int(at * 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(millis // 1000))}.{millis % 1000:03d}Z"


def _own_fields(line: bytes) -> dict[str, object] | None:
    if not line.lstrip().startswith(b"{"):
        return None
    try:
        fields = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return fields if isinstance(fields, dict) else None


def _valid(block: bytes) -> bytes:
    """As UTF-8, invalid bytes replaced, with plain newlines."""
    try:
        block.decode()
    except UnicodeDecodeError:
        block = block.decode(errors="replace").encode()
    return block.replace(b"\r\n", b"\n") if b"\r" in block else block
