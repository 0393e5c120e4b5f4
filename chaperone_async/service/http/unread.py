"""What workers have written and a follower has not taken yet. Bounded: what does not fit is lost, and counted."""

from collections import deque
from collections.abc import Sequence

import anyio

from chaperone_async.core.events import WorkerRef

CAPACITY = 256 << 10
"""Bytes."""
PIECE = 64 << 10

Block = tuple[WorkerRef | None, bytes]
"""Whole lines, and who wrote them; None: we ourselves, of lines that are lost."""


class Unread:
    """A full one loses whole blocks until half of it is free again."""

    def __init__(self) -> None:
        self._blocks: deque[Block] = deque()
        self._size = 0
        self._lost = 0  # lines, not yet owned up to
        self._closed = False
        self._woken = anyio.Event()

    def put(self, ref: WorkerRef, block: bytes) -> None:
        room = CAPACITY // 2 if self._lost else CAPACITY
        if self._size + len(block) > room:
            self._lost += block.count(b"\n")
            return
        self._own_up()
        self._append(ref, block)

    async def more(self) -> bool:
        """Wait until there is something to take. False: it is over."""
        while not self._blocks:
            if self._closed:
                return False
            self._woken = anyio.Event()
            await self._woken.wait()
        return True

    def take(self) -> Sequence[Block]:
        """The oldest, about PIECE bytes of them."""
        taken: list[Block] = []
        size = 0
        while self._blocks and size < PIECE:
            taken.append(self._blocks.popleft())
            size += len(taken[-1][1])
        self._size -= size
        if not self._blocks:
            self._own_up()
        return taken

    def close(self) -> None:
        """Nothing will be put in any more."""
        self._closed = True
        self._woken.set()

    def _own_up(self) -> None:
        """What is lost came after all that is in here now."""
        if self._lost:
            self._append(None, f"… {self._lost} line{'s' if self._lost > 1 else ''} lost\n".encode())
            self._lost = 0

    def _append(self, ref: WorkerRef | None, block: bytes) -> None:
        self._blocks.append((ref, block))
        self._size += len(block)
        self._woken.set()
