"""An asyncio supervisor for pools of queue workers. The public names; nothing is imported before it is used."""

TYPE_CHECKING = False  # typing takes longer to import than the rest of a probe command to run
if TYPE_CHECKING:
    from chaperone_async.errors import ChaperoneError, ConfigError, DuplicatePool, ListenError, StopPool, UnknownPool
    from chaperone_async.pools.registry import WorkerPoolRegistry, run
    from chaperone_async.pools.supervisor import WorkerPoolSupervisor
    from chaperone_async.supervision.handle import Worker

__version__ = "0.1.0"
__all__ = [
    "ChaperoneError",
    "ConfigError",
    "DuplicatePool",
    "ListenError",
    "StopPool",
    "UnknownPool",
    "Worker",
    "WorkerPoolRegistry",
    "WorkerPoolSupervisor",
    "__version__",
    "run",
]

_ROOMS = {
    "Worker": "chaperone_async.supervision.handle",
    "WorkerPoolRegistry": "chaperone_async.pools.registry",
    "WorkerPoolSupervisor": "chaperone_async.pools.supervisor",
    "run": "chaperone_async.pools.registry",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found: object = getattr(import_module(_ROOMS.get(name, "chaperone_async.errors")), name)
    return found
