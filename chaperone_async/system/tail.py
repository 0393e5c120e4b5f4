"""The last lines one worker wrote, in one buffer: no object per line, next to nothing for a worker that is silent."""

MAX_BYTES = 256 << 10


class Tail:
    """At most `keep` lines and MAX_BYTES; whichever is less."""

    __slots__ = ("_block", "_keep", "_lines")

    def __init__(self, keep: int) -> None:
        self._block = bytearray()
        self._keep = keep
        self._lines = 0

    def add(self, block: bytes) -> None:
        if self._keep <= 0:
            return
        self._block += block
        self._lines += block.count(b"\n")
        # A quarter more than is kept, so that each trimming is paid for by the many lines before the next.
        if self._lines > self._keep + self._keep // 4 or len(self._block) > MAX_BYTES:
            self._trim()

    def keep(self, lines: int) -> None:
        """So many from now on."""
        self._keep = max(0, lines)
        self._trim()

    def _trim(self) -> None:
        if len(self._block) > MAX_BYTES:
            del self._block[: self._block.find(b"\n", len(self._block) - MAX_BYTES * 3 // 4) + 1]
        oldest = self._block.rsplit(b"\n", self._keep + 1)
        if len(oldest) > self._keep + 1:
            del self._block[: len(oldest[0]) + 1]
        self._lines = self._block.count(b"\n")

    def last(self, lines: int) -> list[str]:
        """Oldest first."""
        lines = min(lines, self._keep)
        if lines <= 0:
            return []
        newest = self._block.rsplit(b"\n", lines + 1)[:-1][-lines:]
        return [line.decode(errors="replace").removesuffix("\r") for line in newest]
