"""What may be asked of pools and workers over HTTP, and what is answered: nothing but what has come of it."""

from pathlib import Path
from typing import Any

import anyio
import pytest

from chaperone_async.core.events import WorkerRef
from chaperone_async.core.spec import Backoff, CrashLoop, PoolSpec, RestartPolicy, StopPolicy
from tests.service.acting import AT_ONCE, acting
from tests.service.canned import spec
from tests.supervision.fakes import FakeWorld, Script

NEVER = float("inf")


def pool(name: str = "emails", **changes: Any) -> PoolSpec:
    return spec(name, **{"restart": AT_ONCE, **changes})


async def test_an_action_is_answered_at_once_with_an_operation_to_poll(tmp_path: Path) -> None:
    world = FakeWorld(Script(obeys_term_after=NEVER))
    async with acting(world, tmp_path, pool(workers=2)) as stage:
        begun = await stage.post("/pools/emails/stop")
        assert (begun.status, begun.document["state"]) == (202, "running")
        assert begun.location == f"/api/v1/operations/{begun.document['id']}"
        assert (begun.document["action"], begun.document["target"]) == ("stop", "emails")
        for ref in tuple(world.alive):
            world.kill(ref)
        polled = await stage.ask("GET", f"/operations/{begun.document['id']}?wait=30")
        assert (polled.status, polled.document["state"]) == (200, "done")
        assert polled.document["ended_at"] is not None
        assert polled.location == begun.location


async def test_a_wait_that_runs_out_is_answered_with_what_is_still_waited_for(tmp_path: Path) -> None:
    world = FakeWorld(Script(obeys_term_after=NEVER))
    async with acting(world, tmp_path, pool(workers=2)) as stage:
        answer = await stage.post("/pools/emails/stop?wait=0.05")
        assert (answer.status, answer.document["detail"]) == (202, "2 of 2 still running")
        assert answer.document["pools"] == [{"pool": "emails", "state": "running", "detail": "2 of 2 still running"}]


@pytest.mark.parametrize(
    ("action", "status"),
    [("stop", "stopped"), ("pause", "paused"), ("restart", "running"), ("restart?now=1", "running")],
)
@pytest.mark.parametrize(
    "target", ["/pools/emails", "/pools/all", "/pools/emails/workers/0", "/pools/emails/workers/ID"]
)
async def test_every_target_can_be_acted_on_and_waited_for(
    target: str, action: str, status: str, tmp_path: Path
) -> None:
    async with acting(FakeWorld(), tmp_path, pool(), pool("sms")) as stage:
        before = (await stage.workers("emails"))[0]["id"]
        path = f"{target}/{action}{'&' if '?' in action else '?'}wait=30".replace("ID", before)
        answer = await stage.post(path)
        assert (answer.status, answer.document["state"]) == (200, "done"), answer
        after = (await stage.workers("emails"))[0]
        other = (await stage.workers("sms"))[0]["status"]
        assert after["status"] == status
        assert (after["id"] != before) == action.startswith("restart")
        assert other == (status if target.endswith("all") else "running")


async def test_what_was_stopped_and_paused_by_hand_stays_so_until_the_right_word(tmp_path: Path) -> None:
    async with acting(FakeWorld(), tmp_path, pool(workers=2)) as stage:
        await stage.post("/pools/emails/workers/0/stop?wait=30")
        await stage.post("/pools/emails/workers/1/pause?wait=30&for=10m")
        stopped, paused = await stage.workers("emails")
        assert (stopped["status"], stopped["held_until"]) == ("stopped", None)
        assert paused["status"] == "paused"
        assert paused["held_until"] > paused["held_since"]
        assert paused["held_by"] == stopped["held_by"]

        await stage.post("/pools/emails/resume?wait=30")
        assert [row["status"] for row in await stage.workers("emails")] == ["stopped", "running"]
        started = await stage.post("/pools/all/start?wait=30")
        assert started.document["state"] == "done"
        assert [row["held_by"] for row in await stage.workers("emails")] == [None, None]


async def test_a_pause_says_by_whom_since_when_and_until_when(tmp_path: Path) -> None:
    async with acting(FakeWorld(), tmp_path, pool()) as stage:
        await stage.post("/pools/emails/pause?for=90")
        held = (await stage.ask("GET", "/pools/emails")).document
        assert held["reason"] == f"paused by {held['held_by']}"
        assert held["held_until"] > held["held_since"]
        await stage.post("/pools/emails/stop?wait=30")
        assert (await stage.ask("GET", "/pools/emails")).document["held_until"] is None


async def test_a_pause_ends_by_itself(tmp_path: Path) -> None:
    async with acting(FakeWorld(), tmp_path, pool()) as stage:
        await stage.post("/pools/emails/pause?for=200ms")
        await stage.supervisor.runner("emails").until(lambda pool: pool.hold is None and pool.ready_count == 1)


async def test_a_restart_whose_new_worker_crashes_again_and_again_ends_as_failed(tmp_path: Path) -> None:
    def script(ref: WorkerRef) -> Script:
        return Script() if ref.generation == 1 else Script(ends_after=0)

    hasty = RestartPolicy(start_seconds=0.02, backoff=Backoff(initial=0.01), crash_loop=CrashLoop(count=2))
    looping = pool(restart=hasty)
    async with acting(FakeWorld(script), tmp_path, looping) as stage:
        answer = await stage.post("/pools/emails/restart?wait=30")
        assert (answer.status, answer.document["state"]) == (200, "failed")
        assert "crash loop" in answer.document["detail"]
        assert (await stage.workers("emails"))[0]["status"] == "running"


async def test_a_drain_is_done_where_everybody_finished_and_failed_where_one_was_killed(tmp_path: Path) -> None:
    world = FakeWorld(lambda ref: Script(obeys_term_after=NEVER if ref.pool == "sms" else 0))
    stubborn = pool("sms", stop=StopPolicy(timeout=0.05))
    async with acting(world, tmp_path, pool(), stubborn) as stage:
        alone = await stage.post("/pools/emails/drain?wait=30")
        assert (alone.status, alone.document["state"]) == (200, "done")
        every = await stage.post("/drain?wait=30")
        assert (every.status, every.document["state"], every.document["target"]) == (200, "failed", "all")
        assert "had to be killed" in every.document["detail"]
        assert [part["state"] for part in every.document["pools"]] == ["done", "failed"]


async def test_a_drain_of_one_worker_is_about_that_one_alone(tmp_path: Path) -> None:
    world = FakeWorld(lambda ref: Script(obeys_term_after=NEVER if ref.slot == 1 else 0))
    async with acting(world, tmp_path, pool(workers=3, stop=StopPolicy(timeout=0.05))) as stage:
        ends = [await stage.post(f"/pools/emails/workers/{slot}/drain?wait=30") for slot in (0, 1)]
        assert [(end.document["target"], end.document["state"]) for end in ends] == [
            ("emails:0", "done"),
            ("emails:1", "failed"),
        ]
        assert [worker["status"] for worker in await stage.workers("emails")] == ["stopped", "stopped", "running"]


async def test_a_signal_reaches_a_worker_a_pool_or_all(tmp_path: Path) -> None:
    world = FakeWorld()
    async with acting(world, tmp_path, pool(workers=2), pool("sms")) as stage:
        told = [
            (await stage.post(f"/pools/{target}/signal?wait=30", {"signal": "hup"})).document["detail"]
            for target in ("emails/workers/1", "emails", "all")
        ]
        assert len(world.times("SIGHUP")) == 1 + 2 + 3
        assert told == [
            "SIGHUP was sent to 1 worker",
            "SIGHUP was sent to 2 workers",
            "emails: SIGHUP was sent to 2 workers; sms: SIGHUP was sent to 1 worker",
        ]


async def test_scaling_takes_a_number_or_a_difference(tmp_path: Path) -> None:
    async with acting(FakeWorld(), tmp_path, pool(workers=2)) as stage:
        for wanted, count in ((4, 4), ("+1", 5), ("-4", 1)):
            answer = await stage.ask("PATCH", "/pools/emails?wait=30", {"workers": wanted})
            assert (answer.status, answer.document["state"]) == (200, "done")
            assert len(await stage.workers("emails")) == count


async def test_of_several_that_ask_for_one_more_at_the_same_time_each_gets_one(tmp_path: Path) -> None:
    async with acting(FakeWorld(), tmp_path, pool()) as stage:
        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(stage.ask, "PATCH", "/pools/emails", {"workers": "+1"})
        assert stage.supervisor.runner("emails").pool.desired == 11


async def test_operations_are_listed_the_newest_first(tmp_path: Path) -> None:
    async with acting(FakeWorld(), tmp_path, pool()) as stage:
        for action in ("pause", "resume", "stop"):
            await stage.post(f"/pools/emails/{action}")
        listed = (await stage.ask("GET", "/operations?limit=2")).document["operations"]
        assert [operation["action"] for operation in listed] == ["stop", "resume"]


Ask = tuple[str, str, object]


@pytest.mark.parametrize(
    ("ask", "status", "why"),
    [
        (("POST", "/pools/nope/stop", None), 404, "there is no pool named 'nope'"),
        (("POST", "/pools/emails/workers/7/stop", None), 404, "there is no worker '7' in pool 'emails'"),
        (("POST", "/pools/all/workers/0/stop", None), 404, "there is no pool named 'all'"),
        (("GET", "/operations/nope", None), 404, "there is no operation 'nope'"),
        (("POST", "/pools/emails/stop?wait=3601", None), 400, "cannot use wait='3601'"),
        (("POST", "/pools/emails/stop?now=true", None), 400, "there is no parameter 'now' here"),
        (("POST", "/pools/emails/pause?for=soon", None), 400, "cannot use for='soon': it is not a duration"),
        (("POST", "/pools/emails/pause?for=1000d", None), 400, "write at most 366d"),
        (("POST", "/pools/emails/stop", {"a": 1}), 400, "takes none; send no body"),
        (("POST", "/pools/emails/signal", {"signal": "SIGHUB"}), 422, "did you mean 'SIGHUP'?"),
        (("PATCH", "/pools/emails", {"workers": -1}), 422, "cannot use workers: -1"),
        (("PATCH", "/pools/emails", {"workers": "-2"}), 422, "cannot scale 'emails' to -1 workers"),
        (("PATCH", "/pools/all", {"workers": 2}), 404, "there is no pool named 'all'"),
    ],
)
async def test_what_cannot_be_is_refused_and_changes_nothing(ask: Ask, status: int, why: str, tmp_path: Path) -> None:
    async with acting(FakeWorld(), tmp_path, pool()) as stage:
        before = stage.supervisor.runner("emails").pool
        answer = await stage.ask(*ask)
        assert (answer.status, answer.document["status"]) == (status, status)
        assert why in answer.document["detail"]
        assert stage.supervisor.runner("emails").pool == before


async def test_while_the_supervisor_drains_nothing_can_be_changed(tmp_path: Path) -> None:
    world = FakeWorld(Script(obeys_term_after=NEVER))
    async with acting(world, tmp_path, pool()) as stage:
        stage.supervisor.shut_down(NEVER)
        for ask in (
            ("POST", "/pools/emails/start", None),
            ("POST", "/drain", None),
            ("PATCH", "/pools/emails", {"workers": 2}),
        ):
            answer = await stage.ask(*ask)
            assert answer.status == 409
            assert "the supervisor is shutting down" in answer.document["detail"]


async def test_a_pool_that_stops_slowly_makes_nobody_wait(tmp_path: Path) -> None:
    world = FakeWorld(lambda ref: Script(obeys_term_after=NEVER if ref.pool == "slow" else 0))
    async with acting(world, tmp_path, pool("slow"), pool()) as stage:
        slow = await stage.post("/pools/slow/stop")
        for action in ("stop", "start", "restart", "pause", "resume") * 4:
            answer = await stage.post(f"/pools/emails/{action}?wait=30")
            assert answer.document["state"] == "done", answer
        still = await stage.ask("GET", f"/operations/{slow.document['id']}")
        assert (still.status, still.document["detail"]) == (202, "1 of 1 still running")
