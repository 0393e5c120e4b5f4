"""`python -m spool.worker DIRECTORY QUEUE…`: runs the scripts, the oldest first, until it is asked to stop."""

import os
import subprocess
import sys
import time
from pathlib import Path

from chaperone_async.worker import notify


def main(directory: Path, queues: list[str]) -> None:
    mine = directory / "taken" / os.environ["CHAPERONE_WORKER_ID"]
    mine.mkdir(parents=True)
    notify.ready()
    while not notify.should_stop():
        notify.heartbeat()
        job = take(directory, queues, mine)
        if job is None:
            time.sleep(0.01)
            continue
        with notify.job(job.stem, name="script"):
            subprocess.run(["sh", str(job)], check=True)
        job.unlink()


def take(directory: Path, queues: list[str], mine: Path) -> Path | None:
    for queue in queues:
        for job in sorted((directory / queue).glob("*.job")):
            try:
                return job.rename(mine / job.name)
            except FileNotFoundError:  # another one has it
                continue
    return None


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
