"""The commands that change something, as typed, against the real face over scripted processes."""

import json
import os
import pty
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from subprocess import Popen

import pytest
from anyio import create_task_group, to_thread

from chaperone_async.core.events import WorkerRef
from tests.service.acting import AT_ONCE, Stage, acting
from tests.service.canned import spec
from tests.service_cli.conftest import Canned, Chaperone, Ended, Serve
from tests.service_cli.documents import problem
from tests.supervision.fakes import FakeWorld, Script

NEVER = float("inf")
Type = Callable[[str], Awaitable[Ended]]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def obstinate(ref: WorkerRef) -> Script:
    return Script(obeys_term_after=NEVER if ref.pool == "slow" else 0)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """`emails` of two workers, `sms` of one, and `slow`, whose worker does not obey."""
    pools = (spec("emails", workers=2, restart=AT_ONCE), spec("sms", restart=AT_ONCE), spec("slow", restart=AT_ONCE))
    async with acting(FakeWorld(obstinate), tmp_path, *pools) as made:
        yield made


@pytest.fixture
def type_(chaperone: Chaperone, stage: Stage) -> Type:
    async def type_(line: str) -> Ended:
        return await to_thread.run_sync(partial(chaperone, *line.split(), "--url", f"unix:{stage.where.unix}"))

    return type_


async def statuses(stage: Stage, pool: str) -> list[str]:
    return [row["status"] for row in await stage.workers(pool)]


async def test_an_action_that_is_not_waited_for_says_what_was_begun(type_: Type, stage: Stage) -> None:
    ended = await type_("stop slow")
    (operation,) = (await stage.ask("GET", "/operations")).document["operations"]
    assert (ended.code, ended.out) == (0, f"stop slow: begun, operation {operation['id']}\n")


@pytest.mark.parametrize(
    ("line", "code", "told", "now"),
    [
        ("stop emails --wait", 0, "stop emails: done\n", ["stopped", "stopped"]),
        ("pause emails:1 --for 10m --wait", 0, "pause emails:1: done\n", ["running", "paused"]),
        ("stop emails:0 sms --wait", 0, "stop emails:0: done\nstop sms: done\n", ["stopped", "running"]),
        ("restart emails --now --wait", 0, "done\n", ["running", "running"]),
        ("restart emails --rolling --wait", 0, "done\n", ["running", "running"]),
        ("scale emails -1 --wait", 0, "scale emails: done\n", ["running"]),
        ("scale emails +1 --wait", 0, "scale emails: done\n", ["running"] * 3),
        ("scale emails 4 --wait", 0, "scale emails: done\n", ["running"] * 4),
        ("drain emails --wait", 0, "drain emails: done\n", ["stopped", "stopped"]),
        ("signal emails HUP --wait", 0, "signal emails: done: SIGHUP was sent to 2 workers\n", ["running"] * 2),
    ],
)
async def test_with_wait_the_end_is_told(
    line: str, code: int, told: str, now: list[str], type_: Type, stage: Stage
) -> None:
    ended = await type_(line)
    assert (ended.code, ended.err) == (code, "")
    assert ended.out.endswith(told)
    assert await statuses(stage, "emails") == now


async def test_a_worker_is_found_by_its_id(type_: Type, stage: Stage) -> None:
    worker = (await stage.workers("emails"))[1]["id"]
    assert (await type_(f"stop {worker} --wait")).out == f"stop {worker}: done\n"
    assert await statuses(stage, "emails") == ["running", "stopped"]


async def test_all_means_all(type_: Type, stage: Stage) -> None:
    assert (await type_("pause all --wait")).code == 0
    assert {*(await statuses(stage, "emails")), *(await statuses(stage, "slow"))} == {"paused"}
    assert (await type_("resume all --wait")).out == "resume all: done\n"


async def test_what_does_not_end_in_time_is_told_so_and_goes_on(type_: Type, stage: Stage) -> None:
    ended = await type_("stop slow --wait --timeout 0.3")
    (operation,) = (await stage.ask("GET", "/operations")).document["operations"]
    assert (ended.code, ended.out) == (1, "stop slow: 1 of 1 still running\n")
    told = "chaperone: stop slow has not ended in time: 1 of 1 still running; it goes on, see `chaperone operations"
    assert ended.err == f"{told} {operation['id']}`\n"


async def test_what_goes_on_when_nobody_reads_any_more_is_not_said_to_be_done(
    chaperone: Chaperone, stage: Stage
) -> None:
    words = ["stop", "slow", "--wait", "--url", f"unix:{stage.where.unix}"]
    ended = await to_thread.run_sync(partial(chaperone.unread, *words))
    told = "waited no longer, for nobody reads how it goes; what was begun goes on, see `chaperone operations`"
    assert (ended.code, ended.err) == (1, f"chaperone: {told}\n")


async def test_a_failure_after_output_that_nobody_reads_is_still_one(chaperone: Chaperone, stage: Stage) -> None:
    await stage.post("/pools/sms/stop?wait=30")
    words = ["pause", "sms", "--wait", "--format", "json", "--url", f"unix:{stage.where.unix}"]
    ended = await to_thread.run_sync(partial(chaperone.unread, *words))
    assert (ended.code, ended.err) == (1, "chaperone: pause sms failed: it was resumed or stopped meanwhile\n")


async def test_what_has_ended_while_another_was_waited_for_is_done(type_: Type) -> None:
    ended = await type_("stop slow sms --wait --timeout 2")
    assert ended.code == 1
    assert ended.out.splitlines()[-1] == "stop sms: done"


async def test_what_fails_is_told_with_its_reason(type_: Type, stage: Stage) -> None:
    await stage.post("/pools/sms/stop?wait=30")
    ended = await type_("restart sms:7 --wait")
    assert (ended.code, ended.err) == (1, "chaperone: there is no 'sms:7'; pool 'sms' has the slots 0 to 0\n")
    await stage.post("/pools/sms/pause?wait=30")
    failed = await type_("pause sms --wait")
    assert (failed.code, failed.err) == (1, "chaperone: pause sms failed: it was resumed or stopped meanwhile\n")


@pytest.mark.parametrize(
    ("line", "code", "why"),
    [
        ("stop emials", 1, "there is no 'emials'; name a worker by its id, or one of the pools: emails, sms, slow"),
        ("scale emials 3", 1, "there is no pool named 'emials'; there are: emails, sms, slow"),
        ("scale emails -7", 2, "cannot scale 'emails' to -5 workers; write a number from 0 to"),
        ("scale emails many", 2, "'many' is not a number of workers; write one such as 8, +1 or -1"),
        ("signal emails SIGHUB", 2, "did you mean 'SIGHUP'?"),
        ("pause emails --for ever", 2, "cannot use for='ever': it is not a duration"),
        ("restart emails --now --rolling", 2, "not allowed with argument"),
        ("operations nope", 1, "there is no operation 'nope'"),
    ],
)
async def test_what_cannot_be_changes_nothing_and_says_why(
    line: str, code: int, why: str, type_: Type, stage: Stage
) -> None:
    ended = await type_(line)
    assert ended.code == code
    assert why in ended.err
    assert await statuses(stage, "emails") == ["running", "running"]


async def test_nothing_is_begun_where_one_of_several_targets_is_unknown(type_: Type, stage: Stage) -> None:
    assert (await type_("stop emails nope")).code == 1
    assert await statuses(stage, "emails") == ["running", "running"]


async def test_what_was_begun_before_a_refusal_is_told(type_: Type, stage: Stage) -> None:
    async with create_task_group() as tasks:
        tasks.start_soon(stage.supervisor.remove, "slow")
        ended = await type_("stop emails slow --format json")
        tasks.cancel_scope.cancel()
    (operation,) = (await stage.ask("GET", "/operations")).document["operations"]
    begun, refused = ended.err.splitlines()
    assert begun == f"stop emails: begun, operation {operation['id']}"
    assert (ended.code, ended.out, "'slow': it is being removed" in refused) == (4, "", True)


async def test_a_supervisor_that_shuts_down_refuses(type_: Type, stage: Stage) -> None:
    stage.supervisor.shut_down(NEVER)
    ended = await type_("start emails")
    assert (ended.code, ended.err) == (
        4, "chaperone: cannot change anything: the supervisor is shutting down; start it again\n",
    )  # fmt: skip


async def test_json_is_the_apis_own_document(type_: Type, stage: Stage) -> None:
    one = json.loads((await type_("stop emails --wait --format json")).out)
    assert one == (await stage.ask("GET", f"/operations/{one['id']}")).document
    several = json.loads((await type_("start emails sms --format json")).out)
    assert [operation["target"] for operation in several["operations"]] == ["emails", "sms"]
    listed = json.loads((await type_("operations --format json")).out)
    assert len(listed["operations"]) == 3


async def test_operations_are_listed_and_shown_pool_by_pool(type_: Type, stage: Stage) -> None:
    await stage.post("/pools/all/stop?wait=0.05")
    listed = (await type_("operations")).out.splitlines()
    assert listed[0].split() == ["ID", "Action", "Target", "State", "By", "Since", "Ended", "Detail"]
    assert "slow: 1 of 1 still running" in listed[1]
    shown = (await type_(f"operations {listed[1].split()[0]}")).out.splitlines()
    assert [line.split()[:2] for line in shown[-3:]] == [["emails", "done"], ["sms", "done"], ["slow", "running"]]


async def test_tables_tell_who_holds_it_since_when_and_until_when(type_: Type, stage: Stage) -> None:
    held = (await stage.post("/pools/emails/pause?for=10m")).document["by"]
    for line in ("status", "workers emails"):
        told = (await type_(line)).out
        assert f"paused by {held} since " in told
        assert " until " in told


async def test_on_a_terminal_progress_is_one_line_that_is_rewritten(chaperone: Chaperone, stage: Stage) -> None:
    def look() -> str:
        ours, theirs = pty.openpty()
        words = ("stop", "slow", "--wait", "--timeout", "0.3", "--url", f"unix:{stage.where.unix}")
        with Popen(chaperone.argv(*words), cwd=chaperone.directory, env=chaperone.env, stdout=theirs) as child:
            os.close(theirs)
            sent = b""
            try:
                while part := os.read(ours, 1 << 16):
                    sent += part
            except OSError:  # how Linux says that the last writer is gone
                os.close(ours)
            assert child.wait() == 1
        return sent.decode()

    assert await to_thread.run_sync(look) == "\r\x1b[Kstop slow: 1 of 1 still running\r\x1b[K"


def test_who_may_not_change_anything_is_refused(chaperone: Chaperone, serve: Serve) -> None:
    pools = {"/api/v1/pools": problem(403, "changes are refused over TCP")}
    canned: Canned = serve(pools)
    ended = chaperone("stop", "emails", "--url", canned.address)
    assert (ended.code, "changes are refused over TCP" in ended.err) == (4, True)
    assert chaperone("stop", "emails", "--url", "unix:/nowhere").code == 3
