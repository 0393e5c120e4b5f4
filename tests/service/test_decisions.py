"""How a pool that scales itself is told of, and what operators may still ask of it."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from chaperone_async.core.demand import AutoscalePolicy
from chaperone_async.core.spec import PoolSpec
from chaperone_async.errors import QueueUnavailable
from chaperone_async.service.metrics import exposition
from chaperone_async.service.views import Views
from tests.service.acting import acting
from tests.service.queues import pool, until
from tests.supervision.fakes import FakeQueue, FakeWorld, wall


def scaled(**policy: Any) -> PoolSpec:
    own = AutoscalePolicy(**{"min": 1, "max": 4, "cooldown": 0.5, "stabilization": 0.0, **policy})
    return pool(workers=own.min, max_workers=own.max, autoscale=own)


def holding(queue: FakeQueue) -> FakeWorld:
    world = FakeWorld()
    world.queues["emails"] = queue
    return world


async def test_each_decision_is_told_with_its_inputs_and_every_limit_on_the_way(tmp_path: Path) -> None:
    world = holding(FakeQueue(ready=100, reserved=1, oldest_age=12.5))
    async with acting(world, tmp_path, scaled()) as stage:
        path = "/pools/emails/decisions"
        found = (await until(stage, path, lambda it: it["decisions"] and it["decisions"][0]["wanted"] == 4)).document
        newest = (await stage.ask("GET", f"{path}?limit=1")).document["decisions"]
        text = exposition(stage.supervisor, Views("t", "1", 1, wall, world), "")[0].decode()
        shown = (await stage.ask("GET", "/pools/emails")).document
    decisions = found["decisions"]
    assert len(newest) == 1
    assert all(later["at"] >= earlier["at"] for later, earlier in pairwise(decisions))
    grown = [decision for decision in reversed(decisions) if decision["wanted"] != decision["before"]]
    assert [(decision["before"], decision["wanted"]) for decision in grown] == [(1, 2), (2, 3), (3, 4)]
    assert grown[0]["raw"] == pytest.approx(10.0)
    assert [(clamp["name"], clamp["before"], clamp["after"]) for clamp in grown[0]["clamps"]] == [
        ("max", 10, 4),
        ("max_step", 4, 2),
    ]
    assert [clamp["why"] for clamp in grown[0]["clamps"]] == ["no more than 4", "by 1 at a time"]
    inputs = grown[0]["inputs"]
    assert (inputs["backlog"], inputs["busy"], inputs["oldest_age"], inputs["next_due"]) == (100, 0, 12.5, None)
    assert grown[0]["reason"].startswith("from 1 to 2: 100 jobs waiting and 0 in work")
    assert shown["autoscale"] == {"min": 1, "max": 4, "strategy": "backlog", "target": 10.0}
    counts = dict(line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("chaperone_scaler_clamps_total"))
    assert float(counts['chaperone_scaler_clamps_total{clamp="max_step",pool="emails"}']) >= 2
    assert float(counts['chaperone_scaler_clamps_total{clamp="budget",pool="emails"}']) == 0


async def test_an_unknown_backlog_is_told_as_the_reason_to_hold(tmp_path: Path) -> None:
    queue = FakeQueue()
    queue.now = QueueUnavailable("cannot reach redis")
    async with acting(holding(queue), tmp_path, scaled()) as stage:
        found = await until(stage, "/pools/emails/decisions", lambda it: it["decisions"])
    (decision, *_) = found.document["decisions"]
    assert (decision["raw"], decision["inputs"]["backlog"], decision["wanted"]) == (None, None, 1)
    assert [clamp["name"] for clamp in decision["clamps"]] == ["unknown"]


async def test_a_pool_that_keeps_its_count_has_decided_nothing(tmp_path: Path) -> None:
    async with acting(FakeWorld(), tmp_path, pool(backend=None)) as stage:
        answer = await stage.ask("GET", "/pools/emails/decisions")
        assert (answer.status, answer.document) == (200, {"decisions": []})
        assert (await stage.ask("GET", "/pools/nope/decisions")).status == 404


async def test_an_operators_count_is_taken_and_the_scaler_goes_on_from_there(tmp_path: Path) -> None:
    """Within the cooldown it stays, and then the empty queue has its say."""
    async with acting(holding(FakeQueue(ready=0)), tmp_path, scaled(stabilization=2.0)) as stage:
        asked = await stage.ask("PATCH", "/pools/emails?wait=30", {"workers": 3})
        assert (asked.status, asked.document["state"]) == (200, "done")
        assert asked.document["detail"].startswith(("the scaler goes on from there", "the scaler has gone on to"))
        await until(stage, "/pools/emails", lambda it: it["desired"] == 1)


@pytest.mark.parametrize("workers", [0, 5, "+4", "-1"])
async def test_a_count_outside_its_bounds_is_refused_and_they_are_named(workers: int | str, tmp_path: Path) -> None:
    async with acting(holding(FakeQueue(ready=0)), tmp_path, scaled()) as stage:
        answer = await stage.ask("PATCH", "/pools/emails", {"workers": workers})
        assert (answer.status, stage.supervisor.runner("emails").pool.desired) == (409, 1)
        assert "it scales itself between 1 and 4; write a number in between" in answer.document["detail"]
