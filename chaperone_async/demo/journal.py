"""What became of each job, as the jobs themselves have written it down: the demonstration's own account, which owes
nothing to what the supervisor or the queue believes."""

import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from chaperone_async.huey import file

VARIABLE = "CHAPERONE_DEMO"
"""The directory of the demonstration, in the environment of all that belongs to it."""
QUEUES = "jobs.db"
_JOURNAL = "journal.txt"
_SEEN = "seen"

What = Literal["sent", "began", "done"]


@dataclass(slots=True)
class Account:
    """Of one kind of jobs. `again`: runs beyond the first of a job."""

    sent: set[int] = field(default_factory=set)
    begun: set[int] = field(default_factory=set)
    done: set[int] = field(default_factory=set)
    failed: int = 0
    again: int = 0


class Totals(NamedTuple):
    sent: int
    done: int
    failed: int
    again: int

    @property
    def open(self) -> int:
        """Neither done nor failed."""
        return max(0, self.sent - self.done - self.failed)


def total(accounts: Iterable[Account]) -> Totals:
    """Of several kinds, or of one."""
    rows = [(len(account.sent), len(account.done), account.failed, account.again) for account in accounts]
    return Totals(*(sum(column) for column in zip(*rows, strict=True))) if rows else Totals(0, 0, 0, 0)


def note(directory: Path, what: What, kind: str, number: int) -> None:
    """One line, in one write: those of other processes come before it or after it."""
    line = os.open(directory / _JOURNAL, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(line, f"{what} {kind} {number}\n".encode())
    finally:
        os.close(line)


def begin(directory: Path, kind: str, number: int) -> bool:
    """A run begins; whether it is the job's first."""
    note(directory, "began", kind, number)
    seen = directory / _SEEN
    seen.mkdir(exist_ok=True)
    try:
        (seen / f"{kind}-{number}").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


class Reading:
    """Of the journal: each time only what is new, since the demonstration may go on for days."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._offset = 0
        self._accounts: defaultdict[str, Account] = defaultdict(Account)

    def accounts(self) -> dict[str, Account]:
        """By kind, but for those that have failed."""
        journal = self._directory / _JOURNAL
        if journal.exists():
            with journal.open("rb") as new:
                new.seek(self._offset)
                lines, end, _ = new.read().rpartition(b"\n")
            self._offset += len(lines + end)
            for line in lines.decode().splitlines():
                self._note(*line.split())
        return dict(self._accounts)

    def totals(self) -> Totals:
        seen = total(self.accounts().values())
        return seen._replace(failed=file.backlog(self._directory / QUEUES).failed) if seen.sent else seen

    def _note(self, what: str, kind: str, number: str) -> None:
        account, job = self._accounts[kind], int(number)
        account.sent.add(job)  # who has begun, was sent
        if what == "began":
            account.again += job in account.begun
            account.begun.add(job)
        elif what == "done":
            account.done.add(job)


def accounts(directory: Path) -> dict[str, Account]:
    """By kind. Failed are those that the queue file keeps as such."""
    found = Reading(directory).accounts()
    if found:
        for job in file.failed(directory / QUEUES, limit=-1):
            found.setdefault(job.name.rpartition(".")[2], Account()).failed += 1
    return found
