"""What chaperone is told of spool's queues."""

from pathlib import Path
from typing import Any


def attend(settings: dict[str, str]) -> "Queues":
    return Queues(Path(settings["directory"]))


class Queues:
    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def backlog(self, queues: list[str]) -> dict[str, int]:
        return {"ready": sum(len(list((self._directory / queue).glob("*.job"))) for queue in queues)}

    def reclaim(self, worker: dict[str, Any]) -> int:
        taken = list((self._directory / "taken" / worker["id"]).glob("*.job"))
        return len([job.rename(self._directory / worker["queues"][0] / job.name) for job in taken])
