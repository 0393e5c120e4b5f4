"""The last that a short program wrote: its last line says why it failed."""

import asyncio
import os
from contextlib import suppress
from typing import Self

_KEPT = 1024  # bytes


class LastWords:
    """A pipe to write to. Its end is not waited for: what the program leaves behind may hold it."""

    def __init__(self) -> None:
        self._written = b""
        self._reading_end, self.writing_end = os.pipe()
        os.set_blocking(self._reading_end, False)
        asyncio.get_running_loop().add_reader(self._reading_end, self._read)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._reading_end)
        os.close(self._reading_end)
        os.close(self.writing_end)

    def last_line(self) -> str:
        self._read()
        lines = self._written.decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def _read(self) -> None:
        with suppress(BlockingIOError):
            self._written = (self._written + os.read(self._reading_end, 1 << 16))[-_KEPT:]
