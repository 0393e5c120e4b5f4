"""`failed`, `retry` and `flush`: jobs that failed, wherever they are kept."""

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from chaperone_async.service.cli.failed_lists import Place, find_job, find_lists
from chaperone_async.service.cli.options import Subparsers, add_command, add_connection, add_format, connect, count
from chaperone_async.service.cli.outcome import DONE, NO, NotFoundError, QueueFailedError, UsageError

if TYPE_CHECKING:
    from chaperone_async.service.cli.client import Client

Document = dict[str, Any]
_DEFAULT_COUNT = 20
_PATIENCE = 90.0  # many jobs take their time
_FOR_AN_ANSWER = f"how long to wait for an answer (default: {_PATIENCE:g})"


def add(subparsers: Subparsers) -> None:
    failed = add_command(
        subparsers, "failed", run_failed, "list the jobs that failed, the newest first",
        "chaperone failed\nchaperone failed emails -n 100",
    )  # fmt: skip
    failed.add_argument("pool", nargs="?", metavar="POOL", help="only of its queues")
    what = f"at most so many (default: {_DEFAULT_COUNT})"
    failed.add_argument("-n", type=count, default=_DEFAULT_COUNT, metavar="N", dest="limit", help=what)
    retry = add_command(
        subparsers, "retry", run_retry, "have failed jobs done once more",
        "chaperone retry 1b4e28ba\nchaperone retry all --queue emails",
    )  # fmt: skip
    retry.add_argument("ids", nargs="+", metavar="ID", help="as `chaperone failed` lists them, or `all`")
    retry.add_argument("--pool", metavar="POOL", help="only of its queues")
    flush = add_command(
        subparsers, "flush", run_flush, "throw failed jobs away; asks before it does",
        "chaperone flush emails\nchaperone flush --queue emails --yes",
    )  # fmt: skip
    flush.add_argument("pool", nargs="?", metavar="POOL", help="only of its queues")
    flush.add_argument("--yes", action="store_true", help="do not ask")
    for parser in (failed, retry, flush):
        parser.add_argument("--queue", metavar="QUEUE", help="only of this queue")
        add_format(parser)
        add_connection(parser, _FOR_AN_ANSWER, _PATIENCE)


def run_failed(args: argparse.Namespace) -> int:
    client = connect(args)
    pages, failures = list[Document](), list[str]()
    for place in find_lists(client, args.pool, args.queue):
        try:
            pages.append(client.failed(place.queue, place.pool, args.limit))
        except (NotFoundError, QueueFailedError) as error:  # the pool may have gone since
            failures.append(f"queue {place.queue}: {error}")
    found = _newest(pages)
    jobs, more = found[: args.limit], len(found) > args.limit or any(page["next"] for page in pages)
    if args.format == "json":
        whole = {"failed": jobs, "next": jobs[-1]["id"] if more and jobs else None}
        print(json.dumps(pages[0] if len(pages) == 1 else whole, indent=2))
    elif pages:
        _show(pages, jobs, more=more)
    if failures:
        raise QueueFailedError("\n".join(failures))
    return DONE


def _newest(pages: Iterable[Document]) -> list[Document]:
    """Of all lists together. Two pools may know the same list."""
    jobs = {(job["queue"], job["id"], job["at"]): job for page in pages for job in page["failed"]}
    return sorted(jobs.values(), key=lambda job: job["at"] or "", reverse=True)


def _show(pages: list[Document], jobs: list[Document], *, more: bool) -> None:
    if not jobs:
        print("the newest are no longer kept; see -n" if more else "no job has failed")
        return
    from datetime import datetime

    from chaperone_async.service.cli.queue_rows import failed_table
    from chaperone_async.service.cli.table import print_table, printable

    print_table(failed_table(jobs, datetime.now().astimezone()))
    ours = dict.fromkeys(page["pool"] for page in pages if page["recorded_by_chaperone"] and page["failed"])
    if ours:
        print(printable(f"recorded by chaperone, since their queue system keeps no list: {', '.join(ours)}"))
    if more:
        print(f"there may be more: these are the newest {len(jobs)}; see -n")


def run_retry(args: argparse.Namespace) -> int:
    if "all" in args.ids and len(args.ids) > 1:
        raise UsageError("cannot retry all and some by their ids; write one or the other")
    client = connect(args)
    places = find_lists(client, args.pool, args.queue)
    if args.ids == ["all"]:
        wanted: list[tuple[Place, str | None]] = [(place, None) for place in places]
    else:
        wanted = [(find_job(client, places, job), job) for job in args.ids]

    def retry(place: Place, job: str | None) -> int:
        return int(_change(client, "POST", place, job, "/retry")["retried"])

    return _do(args, wanted, retry, "retried", "to be done once more")


def run_flush(args: argparse.Namespace) -> int:
    if not args.yes and not (sys.stdin and sys.stdin.isatty()):  # None: closed by `<&-`
        raise UsageError("cannot ask whether failed jobs are to be thrown away: this is no terminal; write --yes")
    client = connect(args)
    places = find_lists(client, args.pool, args.queue)
    if not args.yes and not _agreed(places):
        print("nothing was thrown away")
        return NO

    def flush(place: Place, job: str | None) -> int:
        return int(_change(client, "DELETE", place, job, "")["flushed"])

    return _do(args, [(place, None) for place in places], flush, "flushed", "thrown away")


def _agreed(places: list[Place]) -> bool:
    from chaperone_async.service.cli.table import printable

    queues = ", ".join(dict.fromkeys(place.queue for place in places))
    print(printable(f"All failed jobs of {queues} are to be thrown away, for good."), file=sys.stderr)
    print("Is that right? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _do(
    args: argparse.Namespace, wanted: list[tuple[Place, str | None]], act: Callable[[Place, str | None], int],
    key: str, words: str,
) -> int:  # fmt: skip
    """One after the other; what cannot be done does not keep the others from it."""
    from chaperone_async.service.cli.table import printable

    done, failures = dict.fromkeys((place.queue for place, _ in wanted), 0), list[str]()
    for place, job in wanted:
        try:
            done[place.queue] += act(place, job)
        except NotFoundError as error:
            failures.append(str(error))
        except QueueFailedError as error:
            failures.append(f"queue {place.queue}: {error}")
    if args.format == "json":
        print(json.dumps({key: sum(done.values())}))
    elif not failures or any(done.values()):
        for queue, many in done.items():
            print(printable(f"{queue}: {many} job{'' if many == 1 else 's'} {words}"))
    if failures:
        raise QueueFailedError("\n".join(failures))
    return DONE


def _change(client: "Client", method: str, place: Place, job: str | None, rest: str) -> Document:
    from chaperone_async.service.cli.client import failed_path

    return client.change(method, f"{failed_path(place.queue, job)}{rest}?{urlencode({'pool': place.pool})}")
