"""A pretend operating system for the core: it performs actions as bookkeeping and hands back facts when told to."""

from dataclasses import dataclass, field, replace
from typing import Any

from chaperone_async.core import events as ev
from chaperone_async.core.actions import Action, Announce, Consult, Kill, Signal, Spawn
from chaperone_async.core.events import PoolEvent, WorkerRef
from chaperone_async.core.pool import Pool, new_pool
from chaperone_async.core.spec import PoolSpec
from chaperone_async.core.states import Slot
from chaperone_async.core.step import step


@dataclass
class World:
    """`asked`: spawns not answered yet. `alive`: processes that exist. `log`: what was done, with its time."""

    spec: PoolSpec
    now: float = 0.0
    salt: int = 7
    asked: list[WorkerRef] = field(default_factory=list)
    alive: dict[WorkerRef, int] = field(default_factory=dict)
    signals: dict[WorkerRef, list[tuple[float, str]]] = field(default_factory=dict)
    consults: list[Consult] = field(default_factory=list)
    told: list[Announce] = field(default_factory=list)
    log: list[tuple[float, Action]] = field(default_factory=list)
    pool: Pool = field(init=False)

    def __post_init__(self) -> None:
        self.pool = new_pool(self.spec, self.salt)

    def send(self, event: PoolEvent) -> tuple[Action, ...]:
        self.pool, actions = step(self.pool, event)
        for action in actions:
            self._perform(action)
        return actions

    def _perform(self, action: Action) -> None:
        self.log.append((self.now, action))
        match action:
            case Spawn(ref=ref):
                self.asked.append(ref)
            case Signal(ref=ref, signal=name):
                self.signals.setdefault(ref, []).append((self.now, name))
            case Kill(ref=ref):
                self.signals.setdefault(ref, []).append((self.now, "SIGKILL"))
            case Consult():
                self.consults.append(action)
            case Announce():
                self.told.append(action)

    # Time

    def begin(self) -> None:
        self.send(ev.TimePassed(self.now))

    def advance(self, seconds: float) -> None:
        """Let time pass, stopping at every deadline of the pool on the way."""
        end = self.now + seconds
        while self.pool.next_deadline <= end:
            self.now = max(self.now, self.pool.next_deadline)
            self.send(ev.TimePassed(self.now))
        self.now = end

    # Facts

    def spawn_all(self) -> None:
        while self.asked:
            self.spawned(self.asked[0])

    def spawned(self, ref: WorkerRef) -> None:
        self.asked.remove(ref)
        self.alive[ref] = 1000 + ref.generation
        self.send(ev.Spawned(ref, self.alive[ref], self.now))

    def spawn_failed(self, ref: WorkerRef, error: str = "cannot run 'x': no such program") -> None:
        self.asked.remove(ref)
        self.send(ev.SpawnFailed(ref, error, self.now))

    def dies(self, ref: WorkerRef, code: int | None = None, signal: int | None = None, *, oom: bool = False) -> None:
        del self.alive[ref]
        self.send(ev.Exited(ref, code, signal, oom, self.now))

    def check(self, ref: WorkerRef, check: str, *, passed: bool, detail: str = "bad") -> None:
        self.send(ev.HealthReported((ev.CheckResult(ref, check, passed, detail),), self.now))

    # Looking

    def reload(self, **changes: Any) -> tuple[Action, ...]:
        """The pool's present specification, with these fields changed, is the new one."""
        return self.send(ev.ReloadRequested(replace(self.pool.spec, **changes), self.now, "a reload"))

    def obey(self, patience: int = 60) -> None:
        """Workers obey SIGTERM at once, and whoever is asked for starts; second by second."""
        for _ in range(patience):
            for ref in list(self.alive):
                if "SIGTERM" in self.names(ref):
                    self.dies(ref, 0)
            self.spawn_all()
            self.advance(1)

    def request(self, kind: Any, target: ev.Target = None) -> tuple[Action, ...]:
        """Ask for a start, stop, restart, roll, pause, resume or kill, now."""
        return self.send(kind(target, self.now))

    def crash(self, index: int = 0, *, after: float = 0.0) -> None:
        """The worker of this slot is started if need be, lives for `after` seconds and exits with code 1."""
        ref = self.ref(index)
        if ref in self.asked:
            self.spawned(ref)
        self.advance(after)
        self.dies(ref, 1)

    def delay(self, index: int = 0) -> float:
        """Seconds until this slot is tried again."""
        return self.slot(index).due - self.now

    def names(self, ref: WorkerRef) -> list[str]:
        """The signals this worker has been sent."""
        return [name for _, name in self.signals.get(ref, [])]

    def spawns(self) -> list[tuple[float, int]]:
        """When which slot was given a worker."""
        return [(at, action.ref.slot) for at, action in self.log if isinstance(action, Spawn)]

    def up(self, seconds: float = 1.0) -> None:
        """All asked for workers start and become ready."""
        self.spawn_all()
        self.advance(seconds)

    def slot(self, index: int) -> Slot:
        return self.pool.slots[index]

    def ref(self, index: int) -> WorkerRef:
        life = self.slot(index).life
        assert life is not None, f"slot {index} has no worker: {self.slot(index).state}"
        return life.ref

    def state(self) -> str:
        return self.pool.state

    def broken(self) -> bool:
        """Whether the breaker is open."""
        return self.pool.breaker is not None

    def states(self) -> list[str]:
        return [type(slot.state).__name__ for slot in self.pool.slots]

    def kinds(self) -> list[str]:
        return [announce.kind for announce in self.told]

    def deaths(self) -> list[str]:
        return [str(a.death.reason) for a in self.told if a.death is not None]


def plan(workers: int = 1, **settings: Any) -> PoolSpec:
    return PoolSpec(name="p", command=("w",), workers=workers, **settings)


def running(spec: PoolSpec) -> World:
    """A world whose pool is up and ready."""
    world = World(spec)
    world.begin()
    world.up(spec.restart.start_seconds)
    return world
