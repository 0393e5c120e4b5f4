"""The demonstration's tasks, in three queues of one file. Each run notes that it begins, and that the job is done."""

import os
import signal
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from chaperone_async.demo import journal
from chaperone_async.huey import DurableHuey

HERE = Path(os.environ[journal.VARIABLE])
emails, reports, risky = (DurableHuey(name, HERE / journal.QUEUES) for name in ("emails", "reports", "risky"))

Work = Callable[[bool], None]
_leaked: list[bytes] = []


def task(queue: DurableHuey, **options: Any) -> Callable[[Work], Callable[[int], object]]:
    """Of the work, which is told whether it runs for the first time, a task, which is sent with the job's number."""

    def make(work: Work) -> Callable[[int], object]:
        @wraps(work)
        def run(number: int) -> None:
            work(journal.begin(HERE, work.__name__, number))
            journal.note(HERE, "done", work.__name__, number)

        made: Callable[[int], object] = queue.task(**options)(run)
        return made

    return make


@task(emails)
def send_email(_first: bool) -> None:  # noqa: FBT001  as of all the work here
    time.sleep(0.05)


@task(reports)
def render_report(_first: bool) -> None:  # noqa: FBT001  likewise
    time.sleep(0.25)


@task(risky)
def resize_image(_first: bool) -> None:  # noqa: FBT001  likewise
    _leaked.append(b"x" * (16 << 20))
    time.sleep(0.1)


@task(risky, retries=1, retry_delay=1)
def import_contacts(first: bool) -> None:  # noqa: FBT001  likewise
    if first:
        raise ConnectionError("the address book does not answer")


@task(risky)
def charge_card(first: bool) -> None:  # noqa: FBT001  likewise
    if first:
        raise ValueError("the card was declined")


@task(risky)
def read_upload(first: bool) -> None:  # noqa: FBT001  likewise
    if first:
        os.kill(os.getpid(), signal.SIGKILL)
