"""A pool's slots as a persistent tree: changing one shares all the others, and every branch knows the earliest
deadline and the tallies below it. So one event costs O(log n), and nothing is ever scanned for "the next one that …".

A tally is many small counters side by side in one integer, `LANE_BITS` each: adding two tallies adds every counter.
"""

from collections.abc import Iterator
from enum import IntEnum
from math import inf
from typing import Generic, Protocol, Self, TypeVar

WIDTH = 16
LANE_BITS = 20
_LANE_MASK = (1 << LANE_BITS) - 1


class Lane(IntEnum):
    """What is counted and can be searched for."""

    VACANT = 0
    LIVE = 1  # a process exists, or is being made
    READY = 2
    PROVEN = 3  # ready and not looping
    LOOPING = 4
    DUE = 5  # to be replaced
    DUE_IDLE = 6  # to be replaced, and not ready: no need to wait for the replacement
    BACKOFF = 7
    WAITING = 8
    FATAL = 9
    FINISHED = 10
    HELD = 11
    FROZEN = 12
    SURPLUS = 13  # scaled away, whether somebody still lives there or not; then counted in LIVE too, and nowhere else

    @property
    def one(self) -> int:
        return 1 << (LANE_BITS * self)


class Leaf(Protocol):
    """What the tree wants to know of a slot."""

    @property
    def due(self) -> float: ...
    @property
    def tally(self) -> int: ...


T = TypeVar("T", bound=Leaf)


class _Twig(Generic[T]):
    """The lowest level: up to WIDTH leaves."""

    __slots__ = ("due", "leaves", "tally")
    span = 1  # leaves below one child

    def __init__(self, leaves: tuple[T, ...], tally: int | None = None) -> None:
        self.leaves = leaves
        self.due: float = min([leaf.due for leaf in leaves])
        self.tally: int = sum(leaf.tally for leaf in leaves) if tally is None else tally

    @property
    def full(self) -> bool:
        return len(self.leaves) == WIDTH

    def __iter__(self) -> Iterator[T]:
        return iter(self.leaves)

    def get(self, index: int) -> T:
        return self.leaves[index]

    def put(self, index: int, leaf: T, change: int) -> Self:
        return type(self)((*self.leaves[:index], leaf, *self.leaves[index + 1 :]), self.tally + change)

    def append(self, leaf: T) -> Self:
        return type(self)((*self.leaves, leaf), self.tally + leaf.tally)

    def pop(self) -> "Self | None":
        return type(self)(self.leaves[:-1]) if len(self.leaves) > 1 else None

    def first_due(self, at: float) -> int:
        return next(i for i, leaf in enumerate(self.leaves) if leaf.due <= at)

    def first(self, shift: int, start: int) -> int | None:
        return next((i for i in range(start, len(self.leaves)) if self.leaves[i].tally >> shift & _LANE_MASK), None)


class _Branch(Generic[T]):
    """A level above: up to WIDTH twigs, or branches of the level below."""

    __slots__ = ("children", "due", "span", "tally")

    def __init__(self, children: "tuple[_Branch[T] | _Twig[T], ...]", tally: int | None = None) -> None:
        self.children = children
        self.span: int = children[0].span * WIDTH
        self.due: float = min([child.due for child in children])
        self.tally: int = sum(child.tally for child in children) if tally is None else tally

    @property
    def full(self) -> bool:
        return len(self.children) == WIDTH and self.children[-1].full

    def __iter__(self) -> Iterator[T]:
        for child in self.children:
            yield from child

    def get(self, index: int) -> T:
        position, rest = divmod(index, self.span)
        return self.children[position].get(rest)

    def put(self, index: int, leaf: T, change: int) -> "_Branch[T]":
        position, rest = divmod(index, self.span)
        child = self.children[position].put(rest, leaf, change)
        return _Branch((*self.children[:position], child, *self.children[position + 1 :]), self.tally + change)

    def append(self, leaf: T) -> "_Branch[T]":
        last = self.children[-1]
        if last.full:
            return _Branch((*self.children, _spine(leaf, self.children[0].span)))
        return _Branch((*self.children[:-1], last.append(leaf)))

    def pop(self) -> "_Branch[T] | None":
        last = self.children[-1].pop()
        kept = self.children[:-1] if last is None else (*self.children[:-1], last)
        return _Branch(kept) if kept else None

    def first_due(self, at: float) -> int:
        position = next(i for i, child in enumerate(self.children) if child.due <= at)
        return position * self.span + self.children[position].first_due(at)

    def first(self, shift: int, start: int) -> int | None:
        for position in range(start // self.span, len(self.children)):
            child = self.children[position]
            if child.tally >> shift & _LANE_MASK:
                found = child.first(shift, max(0, start - position * self.span))
                if found is not None:
                    return position * self.span + found
        return None


def _spine(leaf: T, span: int) -> "_Branch[T] | _Twig[T]":
    """A subtree that holds one leaf and is as high as one whose children span `span`."""
    return _Twig((leaf,)) if span == 1 else _Branch((_spine(leaf, span // WIDTH),))


class Slots(Generic[T]):
    """Immutable; `put`, `append` and `pop` return another one. Indexes are 0..len-1, else IndexError."""

    __slots__ = ("_root", "_size")

    def __init__(self, root: "_Branch[T] | _Twig[T] | None" = None, size: int = 0) -> None:
        self._root = root
        self._size = size

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[T]:
        return iter(()) if self._root is None else iter(self._root)

    def __getitem__(self, index: int) -> T:
        return self._checked(index).get(index)

    @property
    def due(self) -> float:
        """The earliest deadline of all; infinity where nothing waits."""
        return inf if self._root is None else self._root.due

    def count(self, lane: Lane) -> int:
        return 0 if self._root is None else self._root.tally >> (LANE_BITS * lane) & _LANE_MASK

    def put(self, index: int, leaf: T) -> "Slots[T]":
        root = self._checked(index)
        return Slots(root.put(index, leaf, leaf.tally - root.get(index).tally), self._size)

    def append(self, leaf: T) -> "Slots[T]":
        root = self._root
        if root is None:
            return Slots(_Twig((leaf,)), 1)
        if root.full:
            return Slots(_Branch((root, _spine(leaf, root.span))), self._size + 1)
        return Slots(root.append(leaf), self._size + 1)

    def pop(self) -> "Slots[T]":
        """Without the last one. The tree keeps its height: pools grow again."""
        return Slots(self._checked(0).pop(), self._size - 1)

    def first_due(self, at: float) -> int | None:
        """The lowest index whose deadline is not after `at`."""
        return None if self._root is None or self._root.due > at else self._root.first_due(at)

    def first(self, lane: Lane, start: int = 0) -> int | None:
        """The lowest index not under `start` that is counted in `lane`."""
        if self._root is None or start >= self._size:
            return None
        return self._root.first(LANE_BITS * lane, start)

    def _checked(self, index: int) -> "_Branch[T] | _Twig[T]":
        if self._root is None or not 0 <= index < self._size:
            raise IndexError(index)
        return self._root
