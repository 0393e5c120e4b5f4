"""`python -m chaperone_async.demo.producer [--jobs N] [--seconds S]`: send jobs, as an application would, and end when
all of them have ended. By default it goes on for ever, now with more and now with fewer of them."""

import argparse
import sys
import time
from itertools import count

from chaperone_async.demo import journal, tasks
from chaperone_async.demo.kinds import kind_of

_PAUSE = 0.5  # seconds between two lots
_LOTS, _LEAST = 10, 20  # that a given number of jobs comes in, and jobs in a lot
_TIDE = (*[20] * 6, *[2] * 14)  # jobs in a lot, where no number is given: they come and go
_TELLING = 2.0
_PATIENCE = 60.0  # seconds without any progress


class Reporter:
    """Says how far the jobs are, now and then."""

    def __init__(self) -> None:
        self._told_at = time.monotonic()
        self._journal = journal.Reading(tasks.HERE)

    def look(self) -> journal.Totals:
        seen = self._journal.totals()
        if time.monotonic() - self._told_at >= _TELLING:
            self._told_at = time.monotonic()
            told = f"{seen.sent} jobs sent: {seen.done} done, {seen.failed} failed, {seen.open} to go"
            print(told, flush=True)  # noqa: T201  what it prints is its pool's log
        return seen


def send(first: int, jobs: int | None, until: float | None, reporter: Reporter) -> None:
    """From this number on. Begun anew after it was stopped, it sends one perhaps twice, as an application would."""
    number = first
    for lot in count():
        size = _TIDE[lot % len(_TIDE)] if jobs is None else min(jobs - number, max(_LEAST, jobs // _LOTS))
        for _ in range(size):
            kind = kind_of(number)
            getattr(tasks, kind.name)(number)
            journal.note(tasks.HERE, "sent", kind.name, number)
            number += 1
        if number == jobs or (until is not None and time.monotonic() >= until):
            return
        reporter.look()
        time.sleep(_PAUSE)


def wait_for_the_end(reporter: Reporter) -> bool:
    """False: nothing gets on."""
    moved_at, before = time.monotonic(), reporter.look()
    while before.open:
        time.sleep(_PAUSE)
        seen = reporter.look()
        if seen != before:
            moved_at, before = time.monotonic(), seen
        if time.monotonic() - moved_at > _PATIENCE:
            return False
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--seconds", type=float)
    args = parser.parse_args()
    reporter = Reporter()
    until = None if args.seconds is None else time.monotonic() + args.seconds
    send(reporter.look().sent, args.jobs, until, reporter)
    if wait_for_the_end(reporter):
        return 0
    print(f"no job has ended for {_PATIENCE:g} s; given up", file=sys.stderr)  # noqa: T201  likewise
    return 1


if __name__ == "__main__":
    sys.exit(main())
