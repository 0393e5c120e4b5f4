"""The embedded queue: Huey on an SQLite file that loses no job. The public names; only `DurableHuey` needs Huey."""

TYPE_CHECKING = False  # as in chaperone_async: nothing is imported before it is used
if TYPE_CHECKING:
    from chaperone_async.huey.database import QueueFileError
    from chaperone_async.huey.durable import DurableHuey, JobKilledWorkers
    from chaperone_async.huey.file import Backlog, FailedJob, backlog, failed, flush_failed, recover, retry

__all__ = [
    "Backlog",
    "DurableHuey",
    "FailedJob",
    "JobKilledWorkers",
    "QueueFileError",
    "backlog",
    "failed",
    "flush_failed",
    "recover",
    "retry",
]

_ROOMS = {"DurableHuey": "durable", "JobKilledWorkers": "durable", "QueueFileError": "database"}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    try:
        room = import_module(f"{__name__}.{_ROOMS.get(name, 'file')}")
    except ModuleNotFoundError as error:
        if error.name != "huey":
            raise
        why = f'cannot use {name}: the package huey is not installed; pip install "chaperone-async[huey]"'
        raise ModuleNotFoundError(why, name="huey") from None
    found: object = getattr(room, name)
    return found
