"""What is taken for a backlog, and what is not."""

from typing import Any

import pytest

from chaperone_async.core.backlog import Backlog, combine
from chaperone_async.errors import QueueError
from chaperone_async.system.ports import FailedJob, FailedPage
from chaperone_async.system.queues import read_backlog, read_page


def test_what_is_not_told_is_unknown_and_never_zero() -> None:
    assert read_backlog({"ready": 3}) == Backlog(ready=3)
    assert read_backlog({"ready": None, "oldest_age": 1.5}) == Backlog(oldest_age=1.5)


@pytest.mark.parametrize(
    "told",
    [
        {"ready": -1},
        {"ready": "many"},
        {"ready": True},
        {"ready": float("nan")},
        {"ready": 1e30},
        {"oldest_age": "old"},
        {"oldest_age": float("nan")},
        [],
        None,
        7,
    ],
)
def test_nonsense_is_refused(told: Any) -> None:
    with pytest.raises(QueueError, match="is not a backlog"):
        read_backlog(told)


def test_a_text_that_is_not_unicode_can_be_shown() -> None:
    (job,) = read_page({"jobs": [{"id": "1", "error": "no \udcff"}]}).jobs
    assert job.error == "no ?"


def test_several_sources_add_up_or_the_largest_counts() -> None:
    parts = [Backlog(ready=3, oldest_age=1.0, next_due=5.0), Backlog(ready=4, oldest_age=9.0)]
    assert combine(parts, "sum") == Backlog(ready=7, oldest_age=9.0, next_due=5.0)
    assert combine(parts, "max").ready == 4


def test_a_count_that_one_source_does_not_know_nobody_knows() -> None:
    assert combine([Backlog(ready=3), Backlog()], "sum").ready is None


def test_what_an_attendant_says_of_failed_jobs_becomes_a_page() -> None:
    told = {"jobs": [{"id": 7, "args": ["a"], "failed_at": 1.5}], "next": 7}
    job = FailedJob(id="7", queue=None, name=None, arguments="['a']", error=None, at=1.5, attempts=None)
    assert read_page(told) == FailedPage((job,), "7")
    assert read_page({"jobs": []}) == FailedPage((), None)


@pytest.mark.parametrize(
    "told",
    [
        None, {}, {"jobs": 1}, {"jobs": [1]}, {"jobs": [{}]}, {"jobs": [{"id": 1, "failed_at": "now"}]},
        {"jobs": [{"id": 1, "attempts": float("nan")}]},
    ],
)  # fmt: skip
def test_what_is_no_list_of_failed_jobs_is_said_to_be_none(told: Any) -> None:
    with pytest.raises(QueueError, match="is not a list of failed jobs"):
        read_page(told)
