"""Queues and failed jobs as typed: against the real face over scripted queues, and against canned answers."""

import json
import os
import pty
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from subprocess import Popen, run

import pytest
from anyio import to_thread

from chaperone_async.errors import QueueUnavailable
from chaperone_async.service.cli import queue_rows
from tests.service.acting import Stage, acting
from tests.service.queues import KeptJobs, pool, until
from tests.service_cli.conftest import Chaperone, Ended, Serve
from tests.service_cli.documents import NOT_KNOWN, failed_job, failed_page, problem, queue
from tests.service_cli.test_rows import texts
from tests.supervision.fakes import FakeQueue, FakeWorld

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
Type = Callable[..., Awaitable[Ended]]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def kept() -> dict[str, FakeQueue]:
    """Failed jobs of `emails`, and others that chaperone has recorded of `sms`; of `plain` nothing is known."""
    sms = KeptJobs("3", queue="sms", ready=0)
    sms.ours = True
    return {"emails": KeptJobs("1", "2", ready=42, failed=2, oldest_age=7.0), "sms": sms}


@pytest.fixture
async def stage(kept: dict[str, FakeQueue], tmp_path: Path) -> AsyncIterator[Stage]:
    world = FakeWorld()
    world.queues = kept
    async with acting(world, tmp_path, pool("emails"), pool("sms"), pool("plain", backend=None)) as made:
        await until(made, "/queues", lambda it: None not in [row["ready"] for row in it["queues"][:2]])
        yield made


@pytest.fixture
def type_(chaperone: Chaperone, stage: Stage) -> Type:
    async def type_(line: str) -> Ended:
        return await to_thread.run_sync(partial(chaperone, *line.split(), "--url", f"unix:{stage.where.unix}"))

    return type_


# What people read


def test_a_queue_is_one_line_of_its_figures() -> None:
    (line,) = texts(queue_rows.queues_table([queue("emails", "a", "b", arrivals_per_minute=2.5)]))
    assert line == {
        "Queue": "emails", "Ready": "42", "Delayed": "1", "Reserved": "4", "Oldest": "12s", "In/min": "2.5",
        "Done/min": "60", "Clear in": "42s", "Failed": "2", "Pools": "a, b",
    }  # fmt: skip


def test_what_is_unknown_is_not_told_as_nothing() -> None:
    unread = queue() | NOT_KNOWN | dict.fromkeys(("arrivals_per_minute", "completions_per_minute", "time_to_clear"))
    empty = queue(ready=0, oldest_age=None, time_to_clear=0.0)
    stuck = queue(completions_per_minute=0.0, time_to_clear=None)
    lines = texts(queue_rows.queues_table([unread, empty, stuck]))
    columns = ("Ready", "Oldest", "In/min", "Clear in", "Failed", "Problem")
    assert [lines[0][column] for column in columns] == ["?", "?", "?", "?", "?", "cannot reach redis"]
    assert (lines[1]["Ready"], lines[1]["Oldest"], lines[1]["Clear in"]) == ("0", "-", "-")
    assert (lines[2]["Done/min"], lines[2]["Clear in"]) == ("0", "never")


def test_a_failed_job_is_one_line_with_what_was_raised() -> None:
    php = failed_job(error="RuntimeException: no such user\n#0 {main}", arguments="x" * 100, attempts=None, name=None)
    lines = texts(queue_rows.failed_table([failed_job(), php], NOW))
    assert lines[0] == {
        "When": "10:15:30", "Queue": "emails", "ID": "1a2b", "Job": "send_email", "Arguments": "'a@example.com'",
        "Tries": "3", "Error": "ValueError: no such address",
    }  # fmt: skip
    assert (lines[1]["Error"], lines[1]["Job"], lines[1]["Tries"]) == ("RuntimeException: no such user", "?", "-")
    assert len(lines[1]["Arguments"]) == 60


# What people type


async def test_queues_and_status_are_shown(type_: Type, stage: Stage) -> None:
    shown = await type_("queues")
    title, *lines = shown.out.splitlines()
    assert (shown.code, title.split()[:3]) == (0, ["Queue", "Ready", "Delayed"])
    assert [line.split()[:2] for line in lines] == [["emails", "42"], ["sms", "0"], ["plain", "?"]]
    document = json.loads((await type_("queues --format json")).out)
    assert document["queues"][0]["oldest_age"] == 7.0
    status = (await type_("status")).out.splitlines()
    assert "Backlog" in status[1]
    assert status[2].split()[-1] == "42"
    stage.supervisor.runner("emails").queue.now = QueueUnavailable("cannot reach redis")  # type: ignore[union-attr]  # this pool has a queue
    await until(stage, "/pools/emails", lambda it: it["degraded"])
    told = (await type_("status")).out.splitlines()[2]
    assert told.split()[1] == "degraded"
    assert told.endswith("the queue cannot be read: cannot reach redis")


async def test_failed_jobs_of_all_queues_are_listed_together(type_: Type) -> None:
    shown = await type_("failed")
    assert shown.code == 0
    assert sorted(line.split()[3] for line in shown.out.splitlines()[1:4]) == ["1", "2", "3"]
    assert shown.out.splitlines()[4] == "recorded by chaperone, since their queue system keeps no list: sms"
    (only,) = json.loads((await type_("failed emails -n 1 --format json")).out)["failed"]
    assert only["id"] == "2"
    assert "the newest 1" in (await type_("failed emails -n 1")).out
    every = {many: json.loads((await type_(f"failed -n {many} --format json")).out) for many in (2, 3)}
    assert [every[many]["next"] for many in (2, 3)] == [every[2]["failed"][1]["id"], None]


async def test_failed_jobs_are_retried_by_id_wherever_they_are_or_all(type_: Type, kept: dict[str, KeptJobs]) -> None:
    one = await type_("retry 3")
    assert (one.code, one.out, kept["sms"].retried) == (0, "sms: 1 job to be done once more\n", ["3"])
    some = await type_("retry 1 9 --queue emails")
    assert (some.code, some.out, kept["emails"].retried) == (1, "emails: 1 job to be done once more\n", ["1"])
    assert "there is no failed job '9' in the queue 'emails'" in some.err
    every = await type_("retry all --format json")
    assert (every.code, json.loads(every.out), kept["emails"].retried) == (0, {"retried": 1}, ["1", "2"])
    assert (await type_("failed")).out == "no job has failed\n"


@pytest.mark.parametrize(
    ("line", "code", "why"),
    [
        ("flush emails", 2, "this is no terminal; write --yes"),
        ("retry all 1", 2, "cannot retry all and some by their ids"),
        ("retry \udcff --queue sms", 2, "cannot ask for '\\udcff': names and ids are UTF-8"),
        ("retry 9", 1, "there is no failed job '9' among the newest"),
        ("failed emials", 1, "there is no pool named 'emials'; there are: emails, sms, plain"),
        ("flush --queue nope --yes", 1, "there is no queue 'nope'; there are: emails, sms, plain"),
        ("failed plain", 4, "pool 'plain' runs a command of its own, and only a backend knows them"),
        ("failed -n 0", 2, "'0' is not a count"),
    ],
)
async def test_what_cannot_be_is_refused_and_changes_nothing(
    line: str, code: int, why: str, type_: Type, kept: dict[str, KeptJobs]
) -> None:
    ended = await type_(line)
    assert (ended.code, why in ended.err) == (code, True), ended
    assert kept["emails"].lists == {"emails": ["1", "2"]}


async def test_a_queue_out_of_reach_does_not_hide_the_others(type_: Type, kept: dict[str, KeptJobs]) -> None:
    kept["emails"].no = QueueUnavailable("cannot reach redis")
    listed = await type_("failed")
    assert (listed.code, listed.err) == (1, "chaperone: queue emails: cannot reach redis\n")
    assert listed.out.splitlines()[1].split()[2:4] == ["sms", "3"]
    one = await type_("retry 3")
    assert (one.code, kept["sms"].retried) == (0, ["3"])
    nowhere = await type_("retry 1")
    assert (nowhere.code, nowhere.err) == (1, "chaperone: queue emails: cannot reach redis\n")
    kept["sms"].lists["sms"].append("3")
    thrown = await type_("flush --yes")
    assert (thrown.code, kept["sms"].lists) == (1, {"sms": []})


@pytest.mark.parametrize(("answer", "code", "left"), [("y", 0, []), ("", 1, ["1", "2"]), ("no", 1, ["1", "2"])])
async def test_a_flush_on_a_terminal_asks_first(
    answer: str, code: int, left: list[str], chaperone: Chaperone, stage: Stage, kept: dict[str, KeptJobs]
) -> None:
    def flush() -> tuple[int, str]:
        ours, theirs = pty.openpty()
        words = ("flush", "emails", "--url", f"unix:{stage.where.unix}")
        argv, place = chaperone.argv(*words), chaperone.directory
        with Popen(argv, cwd=place, env=chaperone.env, stdin=theirs, stdout=theirs, stderr=theirs) as child:
            os.close(theirs)
            said = b""
            while b"[y/N]" not in said:
                said += os.read(ours, 1 << 16)
            os.write(ours, f"{answer}\n".encode())
            ended = child.wait()
        os.close(ours)
        return ended, said.decode()

    ended, said = await to_thread.run_sync(flush)
    assert (ended, kept["emails"].lists["emails"]) == (code, left)
    assert "All failed jobs of emails are to be thrown away, for good." in said


def test_a_flush_without_an_input_cannot_ask(chaperone: Chaperone) -> None:
    argv = ["sh", "-c", 'exec "$@" <&-', "sh", *chaperone.argv("flush")]
    ended = run(argv, cwd=chaperone.directory, env=chaperone.env, capture_output=True, text=True, check=False)
    assert (ended.returncode, "this is no terminal; write --yes" in ended.stderr) == (2, True), ended.stderr


def test_an_id_that_several_lists_have_is_not_guessed_at(chaperone: Chaperone, serve: Serve) -> None:
    at = "?pool={0}&limit=10000"
    other = failed_job("7", queue="sms", name="send_sms")
    canned = serve(
        {
            "/api/v1/queues": (200, {"queues": [queue("emails"), queue("sms")]}),
            f"/api/v1/queues/emails/failed{at.format('emails')}": (200, failed_page(failed_job("7"))),
            f"/api/v1/queues/sms/failed{at.format('sms')}": (200, failed_page(other, queue="sms", pool="sms")),
        }
    )
    ended = chaperone("retry", "7", "--url", canned.address)
    assert ended.code == 2
    assert "it is in emails (pool emails), sms (pool sms); give --queue, or --pool" in ended.err


def test_where_the_newest_are_kept_no_longer_there_may_be_more(chaperone: Chaperone, serve: Serve) -> None:
    canned = serve(
        {
            "/api/v1/queues": (200, {"queues": [queue("emails"), queue("sms")]}),
            "/api/v1/queues/emails/failed?pool=emails&limit=20": (200, failed_page(next="7")),
            "/api/v1/queues/sms/failed?pool=sms&limit=20": (200, failed_page(queue="sms", pool="sms")),
        }
    )
    assert chaperone("failed", "--url", canned.address).out == "the newest are no longer kept; see -n\n"
    document = json.loads(chaperone("failed", "--format", "json", "--url", canned.address).out)
    assert document == {"failed": [], "next": None}


def test_who_may_not_see_failed_jobs_is_refused(chaperone: Chaperone, serve: Serve) -> None:
    canned = serve({"/api/v1/queues": problem(401, "credentials are needed")})
    assert chaperone("failed", "--url", canned.address).code == 4
    assert chaperone("flush", "--yes", "--url", "unix:/nowhere").code == 3
