"""Every kind of event in the table is really told, in a sentence without holes, and nothing is told that is not there.

Most scenarios run on virtual time; what only a whole supervisor tells comes from a real one.
"""

import json
import re
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from chaperone_async.core import events as ev
from chaperone_async.core.actions import Announce
from chaperone_async.core.spec import (
    MB,
    Callbacks,
    CrashLoop,
    HealthPolicy,
    RecyclePolicy,
    RestartPolicy,
    Rung,
    StopPolicy,
)
from chaperone_async.errors import QueueUnavailable
from chaperone_async.service.compose import compose
from chaperone_async.service.http.listen import bind
from chaperone_async.service.queues import FailedJobs
from chaperone_async.service.run import _serve_http
from chaperone_async.service.sentences import LEVELS, SENTENCES, level, sentence
from chaperone_async.service.signals import SignalDesk
from chaperone_async.service.views import Views
from chaperone_async.supervision.handle import Worker
from chaperone_async.supervision.hooks import Hooks
from chaperone_async.supervision.runner import PoolRunner
from chaperone_async.system.ports import ExitStatus, StoppingNotice, Usage, Verdict
from tests.e2e.service import Service, command
from tests.service.canned import Canned
from tests.service.queues import KeptJobs
from tests.supervision.fakes import (
    FakeProber,
    FakeQueue,
    FakeWorld,
    Script,
    crashes_after,
    lives,
    plan,
    pool_of,
    reload,
    supervising,
    wall,
)

ROOT = Path(__file__).parents[2] / "chaperone_async"
Scenario = Callable[[], Awaitable[FakeWorld]]
SCENARIOS: dict[Scenario, tuple[str, ...]] = {}


def tells(*kinds: str) -> Callable[[Scenario], Scenario]:
    def register(scenario: Scenario) -> Scenario:
        SCENARIOS[scenario] = kinds
        return scenario

    return register


def ask(runner: PoolRunner, request: Callable[..., ev.PoolEvent], target: int | None = None) -> None:
    runner.submit(request(target, anyio.current_time(), "alice"))


# One worker


@tells("worker.started", "worker.ready", "pool.ready", "worker.crashed", "pool.unready", "slot.backoff")
async def a_worker_crashes_and_crashes_again() -> FakeWorld:
    world = FakeWorld(crashes_after(5))
    async with pool_of(world, plan()):
        await anyio.sleep(12)
    return world


@tells("worker.degraded", "worker.recovered", "worker.unhealthy", "worker.stopping")
async def a_worker_uses_too_much_memory_for_a_while_and_then_for_good() -> FakeWorld:
    world = FakeWorld()
    async with pool_of(world, plan()):
        for seconds, megabytes in ((2.5, 900), (2, 1), (6, 900)):
            await anyio.sleep(seconds)
            world.usage[world.ref()] = Usage(memory=megabytes * MB)
        await anyio.sleep(10)
    return world


@tells("worker.due", "worker.exited")
async def a_worker_has_served_long_enough() -> FakeWorld:
    world = FakeWorld()
    async with pool_of(world, plan(recycle=RecyclePolicy(max_time=30))):
        await anyio.sleep(60)
    return world


@tells("worker.leaving", "worker.signalled", "worker.killed")
async def a_worker_says_goodbye_is_signalled_and_does_not_end() -> FakeWorld:
    world = FakeWorld(Script(obeys_term_after=1000))
    async with pool_of(world, plan(stop=StopPolicy(timeout=5))) as runner:
        await anyio.sleep(2)
        world.notice(StoppingNotice(world.ref()))
        runner.submit(ev.SignalRequested(None, "SIGHUP", anyio.current_time(), "alice"))
        ask(runner, ev.StopRequested)
        await anyio.sleep(20)
    return world


@tells("pool.paused", "worker.paused", "pool.resumed", "worker.resumed")
async def a_pool_is_frozen_and_resumed() -> FakeWorld:
    world = FakeWorld()
    async with pool_of(world, plan(pause="freeze")) as runner:
        await anyio.sleep(2)
        ask(runner, ev.PauseRequested)
        await anyio.sleep(1)
        ask(runner, ev.ResumeRequested)
        await anyio.sleep(1)
    return world


# Slots


def looping(action: str) -> RestartPolicy:
    return RestartPolicy(crash_loop=CrashLoop(count=2, action=action))  # type: ignore[arg-type]  # a Literal, from a table


@tells("slot.crash_loop", "pool.breaker_opened", "pool.breaker_canary", "pool.breaker_closed", "worker.proven")
async def all_workers_crash_until_the_third_try() -> FakeWorld:
    world = FakeWorld(lambda ref: crashes_after(2) if ref.generation < 9 else Script())
    async with pool_of(world, plan(workers=2, restart=looping("breaker"))):
        await anyio.sleep(600)
    return world


@tells("slot.fatal", "pool.fatal")
async def a_slot_gives_up_and_with_it_the_pool() -> FakeWorld:
    world = FakeWorld(crashes_after(2))
    async with pool_of(world, plan(restart=looping("fatal"))):
        await anyio.sleep(60)
    return world


@tells("slot.finished")
async def a_worker_has_done_all_there_was_to_do() -> FakeWorld:
    world = FakeWorld(Script(ends_after=5, status=ExitStatus(code=0)))
    async with pool_of(world, plan(restart=RestartPolicy(mode="on-failure"))):
        await anyio.sleep(10)
    return world


# Pools


@tells("pool.stopping", "pool.stopped", "pool.started", "pool.scaled", "pool.restarting", "pool.rolling")
async def a_pool_is_asked_for_this_and_that() -> FakeWorld:
    world = FakeWorld()
    async with pool_of(world, plan()) as runner:
        for request in (ev.StopRequested, ev.StartRequested, ev.RestartRequested, ev.RollRequested):
            await anyio.sleep(5)
            ask(runner, request)
        runner.submit(ev.ScaleRequested(2, anyio.current_time(), "alice"))
        await anyio.sleep(10)
    return world


@tells("pool.changed", "pool.reloaded", "pool.rolled_back")
async def a_pool_is_changed_for_the_better_and_for_the_worse() -> FakeWorld:
    world = FakeWorld(lambda ref: Script() if ref.generation < 4 else crashes_after(0.5))
    spec = plan(restart=looping("breaker"))
    async with supervising(world, spec) as supervisor:
        for program in ("better", "worse"):
            await anyio.sleep(30)
            reload(supervisor.runner("p"), replace(spec, command=(program,)), "alice")
        await anyio.sleep(120)
    return world


@tells("pool.broken")
async def the_supervision_of_a_pool_has_a_bug() -> FakeWorld:
    world = FakeWorld()
    world.signal_bug["p"] = RuntimeError("a bug")
    async with pool_of(world, plan()) as runner:
        await anyio.sleep(2)
        ask(runner, ev.StopRequested)
        await anyio.sleep(2)
    return world


@tells("callback.failed")
async def a_callback_raises() -> FakeWorld:
    async def on_crash(worker: Worker) -> None:
        raise ValueError(worker.id)

    world = FakeWorld(lives(crashes_after(5), Script()))
    async with pool_of(world, plan(callbacks=Callbacks(on_crash=True)), Hooks(on_crash=on_crash)):
        await anyio.sleep(10)
    return world


@tells("check.broken")
async def a_check_cannot_be_made() -> FakeWorld:
    world, prober = FakeWorld(), FakeProber(Verdict(passed=None, detail="no such host"))
    async with pool_of(world, plan(health=HealthPolicy(http="http://nowhere/")), None, prober):
        await anyio.sleep(5)
    return world


# The supervisor


@tells("supervisor.stopping", "supervisor.waiting", "supervisor.state", "supervisor.trouble")
async def the_supervisor_hears_signals() -> FakeWorld:
    world = FakeWorld(Script(obeys_term_after=5))
    async with supervising(world, plan()) as supervisor:

        def tell(kind: str, detail: str) -> None:
            world.journal.add(None, Announce(kind, anyio.current_time(), detail=detail))

        desk = SignalDesk(supervisor, Views("test", "1.2.3", 4321, wall, world), tell, grace=10)

        async def signals() -> AsyncIterator[int]:
            for number in (signal.SIGUSR1, signal.SIGHUP, signal.SIGTERM):
                await anyio.sleep(2)
                yield number

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(desk.run, signals())
            tasks.start_soon(desk.tell_progress)
            await anyio.sleep(12)
            tasks.cancel_scope.cancel()
    return world


@tells("queue.unreachable", "queue.reachable", "queue.reclaimed", "queue.reclaim_failed")
async def a_worker_dies_twice_and_its_queue_is_out_of_reach_in_between() -> FakeWorld:
    world, queue = FakeWorld(crashes_after(20)), FakeQueue(ready=1)
    queue.reclaims = 1
    world.queues["p"] = queue
    async with pool_of(world, plan()):
        await anyio.sleep(30)
        queue.now = QueueUnavailable("cannot reach redis")
        await anyio.sleep(20)
        queue.holds(1)
        await anyio.sleep(20)
    return world


@tells("queue.retried", "queue.flushed")
async def jobs_fail_and_somebody_sees_to_them() -> FakeWorld:
    world, queue = FakeWorld(), KeptJobs("1", "2", queue="default", ready=0)
    world.queues["p"] = queue
    async with supervising(world, plan()) as supervisor:
        await FailedJobs(supervisor).retry("default", None, ["1"], "alice")
        await FailedJobs(supervisor).flush("default", None, None, "alice")
    return world


@tells("worker.urged")
async def a_worker_needs_more_than_one_signal() -> FakeWorld:
    world = FakeWorld(Script(obeys_term_after=1000))
    async with pool_of(world, plan(stop=StopPolicy(timeout=5, then=(Rung("SIGQUIT", 5.0),)))) as runner:
        await anyio.sleep(5)
        ask(runner, ev.StopRequested)
        await anyio.sleep(20)
    return world


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
async def test_a_scenario_tells_what_it_is_there_to_tell_in_whole_sentences(scenario: Scenario) -> None:
    world = await scenario()
    news = [entry.news for entry in world.journal.entries()]
    assert set(SCENARIOS[scenario]) <= {each.kind for each in news}
    for each in news:
        assert each.kind in SENTENCES, f"{each.kind} is told, and is not in the table"
        assert level(each) in LEVELS
        assert "None" not in sentence(each), each


# What only a whole supervisor tells

WHOLE = (
    "supervisor.started",
    "supervisor.reloading",
    "supervisor.reloaded",
    "supervisor.reload_failed",
    "supervisor.stopped",
)


def test_a_whole_supervisor_tells_its_life(tmp_path: Path) -> None:
    worker = tmp_path / "worker.py"
    worker.write_text("import signal\nsignal.pause()\n")
    pools = f"[pools.p]\ncommand = {command(worker)}\nrestart.start_seconds = 0.01\n"
    with Service(tmp_path, pools, head='logs.format = "json"').start() as service:
        service.until_up()
        right = service.config.read_text()
        service.config.write_text(right + "workers = 2\n")
        service.send(signal.SIGHUP)
        service.until(lambda: service.lines('"supervisor.reloaded"'))
        service.config.write_text(right + "worker = 2\n")
        service.send(signal.SIGHUP)
        service.until(lambda: service.lines('"supervisor.reload_failed"'))
        service.stop()
        documents = [json.loads(line) for line in service.log().splitlines()]
    assert {document["event"] for document in documents} <= SENTENCES.keys()
    assert {document["event"] for document in documents} >= set(WHOLE)
    assert "None" not in "".join(document["message"] for document in documents)


BROKEN = ("supervisor.broken",)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_server_that_fails_is_told(tmp_path: Path) -> None:
    listeners = bind([f"unix:{tmp_path}/s"])
    for listener in listeners:
        listener.close()
    told: list[str] = []
    async with compose(listener=lambda entry: told.append(entry.news.kind)) as composed:
        await _serve_http(Canned().face(), composed, listeners)
    assert tuple(told) == BROKEN


# All of them


def test_every_kind_in_the_table_is_told_by_a_scenario() -> None:
    told = {kind for kinds in SCENARIOS.values() for kind in kinds} | {*WHOLE, *BROKEN}
    assert told == SENTENCES.keys()


def test_no_kind_is_written_in_the_code_that_is_not_in_the_table() -> None:
    families = {kind.partition(".")[0] for kind in SENTENCES}
    shape = re.compile(rf'"((?:{"|".join(sorted(families))})\.[a-z_]+)"')
    layers = ("core", "supervision", "service")
    written = {
        kind for layer in layers for path in (ROOT / layer).rglob("*.py") for kind in shape.findall(path.read_text())
    }
    assert {kind for kind in written if not kind.endswith(".py")} == SENTENCES.keys()


def test_every_kind_has_a_meaning_that_ends_like_a_sentence() -> None:
    for kind, told in SENTENCES.items():
        assert re.fullmatch(r"[A-Z].*\.", told.meaning), kind


def test_the_table_in_the_documentation_is_this_table() -> None:
    text = (Path(__file__).parents[2] / "README.md").read_text()
    table = text.partition("| event | level | |\n")[2].partition("\n\n")[0].splitlines()[1:]
    assert table == [f"| `{kind}` | {about.level} | {about.meaning} |" for kind, about in SENTENCES.items()]
