"""What ought to be, kept by the simplest means there are: a few words for each pool, changed by what is asked of it.
It knows nothing of slots' states, of rolls or of deadlines; a test compares the world with it in the end."""

from dataclasses import dataclass, field, replace
from math import inf
from typing import Literal

from chaperone_async.core.spec import PoolSpec

Why = Literal["stop", "pause"]


@dataclass(frozen=True)
class Held:
    why: Why
    until: float = inf


@dataclass
class PoolModel:
    """`spec`: accepted last. `held`: the pool as a whole; `slots`: each of its slots that is held. `before`: what the
    last change of a command replaced, and how many were desired then, if it changed that too. `doubted`: its workers
    never get ready. `untried`: since then there was a moment when nobody was wanted, so that it may have been kept."""

    spec: PoolSpec
    desired: int
    held: Held | None = None
    slots: dict[int, Held] = field(default_factory=dict)
    doubted: bool = False
    before: PoolSpec | None = None
    desired_before: int | None = None
    untried: bool = False

    @classmethod
    def of(cls, spec: PoolSpec) -> "PoolModel":
        return cls(spec, spec.workers)

    @property
    def plain(self) -> bool:
        """Nothing is held, and its command is known to be good."""
        return self.held is None and not self.slots and not self.doubted and is_good(self.spec)

    @property
    def running(self) -> set[int]:
        """The slots that ought to have a worker at work."""
        return set(range(self.desired)) - set(self.slots)

    def time_passes(self, now: float) -> None:
        if self.held is not None and self.held.until <= now:
            self.held = None
        self.slots = {index: held for index, held in self.slots.items() if held.until > now}

    # What is asked

    def start(self, slot: int | None) -> None:
        self._free(slot)

    def restart(self, slot: int | None) -> None:
        """What was held one by one stays so when the whole pool, not held itself, is restarted."""
        if slot is not None or self.held is not None:
            self._free(slot)

    def _free(self, slot: int | None) -> None:
        self.held = None
        if slot is None:
            self.slots = {}
        else:
            self.slots.pop(slot, None)

    def stop(self, slot: int | None) -> None:
        held = Held("stop")
        if slot is None:
            self.held = held
            self.slots = dict.fromkeys(range(self.desired), held)
        else:
            self.slots[slot] = held
        self._look()

    def pause(self, slot: int | None, until: float) -> None:
        """Of a pool that is stopped: nothing. Stopped slots stay stopped; what is paused is paused anew, a worker of a
        paused pool for as long as that at least."""
        if self.held is not None and self.held.why != "pause":
            return
        if slot is not None and self.held is not None:
            until = max(until, self.held.until)
        held = Held("pause", until)
        if slot is None:
            self.held = held
            for index in range(self.desired):
                if index not in self.slots or self.slots[index].why == "pause":
                    self.slots[index] = held
        elif slot not in self.slots or self.slots[slot].why == "pause":
            self.slots[slot] = held
        self._look()

    def resume(self, slot: int | None) -> None:
        paused = {index for index, held in self.slots.items() if held.why == "pause" and slot in {None, index}}
        if self.held is not None and self.held.why == "pause" and (slot is None or paused):
            self.held = None
        self.slots = {index: held for index, held in self.slots.items() if index not in paused}

    def scale(self, workers: int) -> None:
        """By hand: what is taken back later leaves this number alone."""
        self.desired_before = None
        self._resize(workers)

    def _resize(self, workers: int) -> None:
        if self.held is not None:
            self.slots |= dict.fromkeys(range(self.desired, workers), self.held)
        self.desired = workers
        self.slots = {index: held for index, held in self.slots.items() if index < workers}
        self._look()

    def change(self, new: PoolSpec, *, under_way: bool) -> None:
        """`under_way`: an earlier change has not been proven yet, so that there is nothing in it to go back to."""
        if new == self.spec:
            return
        old, self.spec = self.spec, new
        desired, resized = self.desired, new.workers != old.workers
        if new.command != old.command:
            known = self.desired_before if under_way else None
            self.desired_before = desired if known is None and resized else known
            self.before = self.before if under_way and self.before else old
            self.doubted, self.untried = not is_good(new), False
        elif under_way and self.before is not None:
            self.before = replace(new, command=self.before.command)
            self.desired_before = None if resized else self.desired_before
        if resized:
            self._resize(new.workers)
        self._look()

    def turned_out(self, command: tuple[str, ...]) -> None:
        """What has become of a doubted command, as the world shows: kept, or taken back."""
        if not self.doubted or self.before is None or command != self.before.command:
            return
        wanted, self.spec, self.doubted = self.spec.workers, self.before, False
        if self.desired_before is not None and self.desired == wanted:
            self._resize(self.desired_before)

    def _look(self) -> None:
        self.untried = self.untried or not self.running


def is_good(spec: PoolSpec) -> bool:
    return spec.command[0] == "good"
