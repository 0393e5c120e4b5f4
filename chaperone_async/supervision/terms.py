"""By which terms each worker is checked: those of the specification it was started under. While a new specification
goes through a pool, its old workers are not held to what only the new ones can do."""

from collections.abc import Callable
from dataclasses import dataclass

from chaperone_async.core.events import WorkerRef
from chaperone_async.core.plan import rolls
from chaperone_async.core.pool import Pool
from chaperone_async.core.spec import PoolSpec
from chaperone_async.system.ports import Prober

MakeProbers = Callable[[PoolSpec], tuple[Prober, ...]]


@dataclass(frozen=True, slots=True)
class Terms:
    spec: PoolSpec
    probers: tuple[Prober, ...]


class TermsBook:
    """Terms by the first generation they are for. `make_probers` may raise ConfigError."""

    def __init__(self, spec: PoolSpec, make_probers: MakeProbers) -> None:
        self._make_probers = make_probers
        self._pages: list[tuple[int, Terms]] = [(0, Terms(spec, make_probers(spec)))]

    @property
    def probing(self) -> bool:
        return any(terms.probers for _, terms in self._pages)

    def of(self, ref: WorkerRef) -> Terms:
        return next(terms for first, terms in reversed(self._pages) if first <= ref.generation)

    def change(self, before: Pool, after: Pool) -> None:
        """The pool has got another specification: for the workers it starts from now on, and for those that were
        started as it starts them."""
        terms = Terms(after.spec, self._make_probers(after.spec))
        self._pages = [(first, old if rolls(old.spec, after.spec) else terms) for first, old in self._pages]
        if rolls(before.spec, after.spec):
            self._pages.append((before.next_generation, terms))
        lives = [slot.life.ref.generation for slot in after.slots if slot.life is not None]
        oldest = min(lives, default=before.next_generation)
        while len(self._pages) > 1 and self._pages[1][0] <= oldest:
            del self._pages[0]
