"""Several pools side by side."""

import asyncio

import anyio
import pytest

from chaperone_async import ChaperoneError, ConfigError, DuplicatePool, UnknownPool, WorkerPoolRegistry
from tests.api.world import CRASHES, STEADY, eventually, pids, pool_of, ready, supervised


def two() -> WorkerPoolRegistry:
    registry = WorkerPoolRegistry()
    registry.register("emails", pool_of(STEADY, name="emails"))
    registry.register("images", pool_of(STEADY, name="images"))
    return registry


def test_a_registry_knows_its_pools() -> None:
    registry = two()
    emails = registry.get("emails")
    assert emails.name == "emails"
    assert registry.has("emails")
    assert not registry.has("sms")
    assert list(registry.all()) == ["emails", "images"]
    with pytest.raises(UnknownPool, match="there is no pool named 'sms'"):
        registry.get("sms")
    with pytest.raises(DuplicatePool, match="cannot add pool 'emails': there is one of that name; choose another"):
        registry.register("emails", emails)


async def test_pools_run_side_by_side_until_all_are_stopped() -> None:
    registry = two()
    emails, images = registry.get("emails"), registry.get("images")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(registry.supervise)
        await eventually(lambda: ready(emails)() and ready(images)())
        await emails.stop()
        assert pids(images)
        await images.stop()


async def test_a_pool_that_was_started_again_is_waited_for() -> None:
    registry = two()
    emails, images = registry.get("emails"), registry.get("images")
    async with supervised(registry):
        await eventually(lambda: ready(emails)() and ready(images)())
        await emails.stop()
        await emails.restart()
        await eventually(ready(emails))
        (pid,) = pids(emails)
        await images.stop()
        await images.restart()
        await eventually(ready(images))
        assert pids(emails) == [pid]


async def test_stop_stops_and_forgets() -> None:
    registry = two()
    emails, images = registry.get("emails"), registry.get("images")
    async with supervised(registry):
        await eventually(lambda: ready(emails)() and ready(images)())
        await registry.stop("emails")
        assert not registry.has("emails")
        assert (emails.status()["state"], emails.status()["running"]) == ("stopped", 0)
        assert pids(images)
        with pytest.raises(UnknownPool):
            await registry.stop("emails")
        registry.register("emails", pool_of(STEADY, name="emails", workers=2))
        await eventually(ready(registry.get("emails"), 2))


async def test_a_pool_may_be_stopped_by_two_at_once() -> None:
    registry = two()
    async with supervised(registry):
        await eventually(ready(registry.get("emails")))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(registry.stop, "emails")
            tasks.start_soon(registry.stop, "emails")
        assert list(registry.all()) == ["images"]


async def test_a_pool_registered_while_running_starts_at_once() -> None:
    registry = two()
    async with supervised(registry):
        await eventually(ready(registry.get("emails")))
        added = pool_of(STEADY, name="sms", workers=2)
        registry.register("sms", added)
        await eventually(ready(added, 2))
        bad = pool_of(STEADY, name="bad").configure(colour="red")
        with pytest.raises(ConfigError, match="colour"):
            registry.register("bad", bad)
        assert not registry.has("bad")
        await registry.stop_all()


async def test_stop_all_ends_supervise_and_empties_the_registry() -> None:
    registry = two()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(registry.supervise)
        await eventually(ready(registry.get("images")))
        await registry.stop_all()
    assert registry.all() == {}


async def test_stopping_everything_before_it_runs_does_not_end_the_next_run() -> None:
    registry = two()
    await registry.stop_all()
    assert registry.all() == {}
    pool = pool_of(STEADY)
    registry.register("emails", pool)
    async with supervised(registry):
        await eventually(ready(pool))


async def test_a_registry_cannot_be_supervised_twice_at_once() -> None:
    registry = two()
    async with supervised(registry):
        await eventually(ready(registry.get("emails")))
        with pytest.raises(ChaperoneError, match="cannot supervise: these pools are being supervised already"):
            await registry.supervise()
        assert pids(registry.get("emails"))


async def test_a_registry_that_cannot_start_whole_does_not_start_at_all() -> None:
    registry = two()
    registry.register("bad", pool_of(STEADY, name="bad").configure(colour="red"))
    with pytest.raises(ConfigError, match="colour"):
        await registry.supervise()
    assert registry.get("emails").status()["running"] == 0
    emails = registry.get("emails")
    async with supervised(emails):  # it is free for another
        await eventually(ready(emails))


async def test_a_registry_without_pools_waits_for_one() -> None:
    registry = WorkerPoolRegistry()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(registry.supervise)
        await anyio.wait_all_tasks_blocked()
        pool = pool_of(STEADY)
        registry.register("emails", pool)
        await eventually(ready(pool))
        await registry.stop_all()


async def test_a_pool_that_is_given_up_does_not_end_the_others() -> None:
    registry = two()
    loop = {"crash_loop": {"count": 1, "action": "fatal"}}
    hopeless = pool_of(CRASHES, name="hopeless", restart=loop)
    registry.register("hopeless", hopeless)
    async with supervised(registry):
        await eventually(lambda: hopeless.status()["state"] == "fatal")
        await eventually(ready(registry.get("emails")))
        await asyncio.wait_for(hopeless.scale(2), 60)  # it would wait for ever
        assert registry.get("emails").status()["running"] == 1
