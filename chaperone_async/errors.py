"""One class per cause. Messages read `cannot <do what>: <why>; <what would be valid>`."""

from collections.abc import Sequence


class ChaperoneError(Exception):
    """The base of every error a user may see."""


class ConfigError(ChaperoneError):
    """The configuration cannot be used. `problems` has one line for each thing that is wrong."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class UnknownPool(ChaperoneError):
    def __init__(self, name: str) -> None:
        super().__init__(f"there is no pool named {name!r}")
        self.name = name


class UnknownQueue(ChaperoneError):
    def __init__(self, name: str, queues: Sequence[str]) -> None:
        super().__init__(
            f"no pool serves the queue {name!r}; the queues that are served: {', '.join(queues) or 'none'}"
        )


class DuplicatePool(ChaperoneError):
    def __init__(self, name: str) -> None:
        super().__init__(f"cannot add pool {name!r}: there is one of that name; choose another, or stop that one first")
        self.name = name


class UnknownWorker(ChaperoneError):
    def __init__(self, pool: str, worker: str) -> None:
        super().__init__(f"there is no worker {worker!r} in pool {pool!r}; name one by its id, or by its slot's number")


class UnknownOperation(ChaperoneError):
    def __init__(self, identifier: str) -> None:
        super().__init__(f"there is no operation {identifier!r}; the latest ones are kept, see /api/v1/operations")


class ConflictError(ChaperoneError):
    """What is asked for does not go together with what there is, or what is under way."""


class QueueError(ChaperoneError):
    """A queue system refused what was asked of it, or its library failed."""


class QueueUnavailable(QueueError):
    """A queue cannot be reached, or does not answer in time."""


class ListenError(ChaperoneError):
    """A listening address cannot be had."""


class StopPool(Exception):
    """Raised in any callback: stop this pool gracefully and mark it fatal, with the message (or an error's) as the
    reason."""

    def __init__(self, reason: object = "stopped by a callback") -> None:
        super().__init__(reason)
        self.reason = str(reason)
