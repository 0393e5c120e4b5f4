"""Health: what a look at the workers shows, what probers answer, and what follows."""

import anyio

from chaperone_async.core.events import PauseRequested, ReadyTold, ResumeRequested, ScaleRequested, WorkerRef
from chaperone_async.core.reasons import Reason
from chaperone_async.core.spec import MB, HealthPolicy, RecyclePolicy
from chaperone_async.supervision.complaints import FEW
from chaperone_async.system.ports import Telemetry, Usage, Verdict
from tests.supervision.fakes import FakeProber, FakeWorld, plan, pool_of

FIRST = WorkerRef("p", 0, 1)
PASS, FAIL, UNKNOWN = Verdict(passed=True), Verdict(passed=False, detail="503"), Verdict(passed=None, detail="no name")
PROBED = HealthPolicy(http="http://127.0.0.1/health")


async def test_a_worker_over_its_memory_limit_for_three_ticks_is_replaced() -> None:
    world = FakeWorld()
    world.usage[FIRST] = Usage(memory=513 * MB)
    async with pool_of(world, plan()):
        await anyio.sleep(4)
        assert world.log == [(0, "spawn", 0), (3, "SIGTERM", 0), (3, "exit", 0), (3, "spawn", 0)]
        assert world.reasons() == [Reason.MEMORY]
        assert "worker.unhealthy" in world.kinds()


async def test_a_moment_over_the_memory_limit_is_forgiven() -> None:
    world = FakeWorld()
    async with pool_of(world, plan()) as runner:
        await anyio.sleep(4.5)
        world.usage[FIRST] = Usage(memory=513 * MB)
        await anyio.sleep(2)
        world.usage[FIRST] = Usage(memory=511 * MB)
        await anyio.sleep(10)
        assert world.log == [(0, "spawn", 0)]
        assert world.kinds()[-2:] == ["worker.degraded", "worker.recovered"]
        assert runner.pool.slots[0].life is not None
        assert not runner.pool.slots[0].life.failing


async def test_a_worker_stopped_from_outside_is_woken_to_hear_its_end() -> None:
    world = FakeWorld()
    async with pool_of(world, plan()):
        await anyio.sleep(10.5)
        world.usage[FIRST] = Usage(state="T")
        await anyio.sleep(3)
        assert world.log[1:] == [
            (13, "SIGTERM", 0),
            (13, "SIGCONT", 0),
            (13, "exit", 0),
            (13, "spawn", 0),
        ]
        assert world.reasons() == [Reason.UNHEALTHY]


async def test_a_late_heartbeat_is_noticed_once_it_has_been_armed() -> None:
    world = FakeWorld()
    async with pool_of(world, plan(health=HealthPolicy(heartbeat=5))):
        await anyio.sleep(100)
        assert not world.times("SIGTERM")
        world.said[FIRST] = Telemetry(heartbeat_at=100)
        await anyio.sleep(20)
        assert world.times("SIGTERM") == [108]  # late at 106, 107 and 108
        assert "heartbeat check failed" in world.journal.crashes("p")[0].death.detail


async def test_a_steady_pool_makes_no_events() -> None:
    world = FakeWorld()
    async with pool_of(world, plan(workers=5)) as runner:
        await runner.until(lambda pool: pool.ready_count == 5)
        before = runner.pool
        await anyio.sleep(60.5)
        assert runner.pool is before
        assert runner.readings.at == 61


async def test_a_probed_worker_is_ready_when_its_probe_has_passed() -> None:
    prober = FakeProber(FAIL)
    async with pool_of(FakeWorld(), plan(health=PROBED), None, prober) as runner:
        await anyio.sleep(4.5)
        assert not runner.pool.ready
        prober.verdict = PASS
        await runner.until(lambda pool: pool.ready)
        assert anyio.current_time() == 5


async def test_a_worker_with_two_probes_is_ready_when_both_have_passed() -> None:
    health = HealthPolicy(http="http://x", tcp="localhost:1", interval=1)
    probers = FakeProber(PASS), FakeProber(PASS, "tcp", takes=0.5)
    async with pool_of(FakeWorld(), plan(health=health), None, *probers) as runner:
        await anyio.sleep(2.5)
        assert runner.pool.ready


async def test_failures_of_a_worker_that_never_passed_count_after_start_grace() -> None:
    world = FakeWorld()
    async with pool_of(world, plan(health=PROBED), None, FakeProber(FAIL)):
        await anyio.sleep(13)
        assert world.times("SIGTERM") == [12]
        assert world.reasons() == [Reason.UNHEALTHY]


async def test_a_worker_whose_probe_fails_three_times_is_replaced() -> None:
    world, prober = FakeWorld(), FakeProber(PASS)
    async with pool_of(world, plan(health=PROBED), None, prober):
        await anyio.sleep(5.5)
        prober.verdict = FAIL
        await anyio.sleep(3)
        assert world.times("SIGTERM") == [8]
        assert world.journal.crashes("p")[0].death.detail == "http check failed 3 times in a row: 503"


async def test_what_a_probe_says_can_be_told_in_json() -> None:
    world = FakeWorld()
    async with pool_of(world, plan(health=PROBED), None, FakeProber(Verdict(passed=False, detail="stale \udcff"))):
        await anyio.sleep(13)
        assert world.journal.crashes("p")[0].death.detail.endswith("stale \\udcff")


async def test_a_probe_that_could_not_be_made_is_neither_pass_nor_fail_and_is_told_once() -> None:
    world, prober = FakeWorld(), FakeProber(PASS)
    async with pool_of(world, plan(workers=3, health=PROBED), None, prober) as runner:
        await anyio.sleep(5.5)
        prober.verdict = UNKNOWN
        await anyio.sleep(100)
        assert world.times("spawn") == [0, 0, 0]
        assert runner.complaints.broken_checks == {"http": "no name"}
        assert world.kinds().count("check.broken") == 1


async def test_many_workers_with_a_broken_check_say_so_a_few_times_only() -> None:
    world, prober = FakeWorld(), FakeProber(PASS)

    async def probe(ref: WorkerRef, worker_id: str, pid: int) -> Verdict:
        del pid
        return Verdict(passed=None, detail=f"no answer of {worker_id}") if ref.slot else PASS

    prober.probe = probe  # type: ignore[method-assign]  # each worker has words of its own
    async with pool_of(world, plan(workers=20, health=HealthPolicy(http="http://x/")), None, prober) as runner:
        await anyio.sleep(300)
        assert world.kinds().count("check.broken") == FEW
        assert runner.complaints.broken_checks["http"].startswith("no answer of p-")
        runner.submit(ScaleRequested(1, anyio.current_time()))
        await anyio.sleep(5)
        assert runner.complaints.broken_checks == {}


async def test_the_time_in_which_a_worker_was_paused_does_not_count_as_silence() -> None:
    world = FakeWorld()
    async with pool_of(world, plan(health=HealthPolicy(heartbeat=30))) as runner:
        await anyio.sleep(5)
        world.said[FIRST] = Telemetry(heartbeat_at=5)
        runner.submit(PauseRequested(None, anyio.current_time()))
        await anyio.sleep(600)
        runner.submit(ResumeRequested(None, anyio.current_time()))
        await anyio.sleep(29)
        assert world.times("SIGTERM") == []
        await anyio.sleep(5)
        assert len(world.times("SIGTERM")) == 1


async def test_a_worker_that_bloats_while_it_starts_is_not_recycled_before_it_is_ready() -> None:
    world = FakeWorld()
    spec = plan(health=HealthPolicy(ready="notify"), recycle=RecyclePolicy(max_memory=400 * MB, jitter=0))
    async with pool_of(world, spec) as runner:
        world.usage[FIRST] = Usage(memory=450 * MB)
        await anyio.sleep(5)
        runner.submit(ReadyTold(FIRST, anyio.current_time()))
        world.usage[FIRST] = Usage(memory=300 * MB)
        await anyio.sleep(60)
        assert world.log == [(0, "spawn", 0)]


async def test_a_probe_under_way_is_not_started_a_second_time() -> None:
    world, prober = FakeWorld(), FakeProber(FAIL, takes=4.5)
    async with pool_of(world, plan(health=PROBED), None, prober):
        await anyio.sleep(20.6)
        assert [at for at, _ in prober.asked] == [1, 6, 11, 16]
        assert world.times("SIGTERM") == [20.5]  # the first answer that counted came at 10.5


async def test_a_hanging_probe_of_one_worker_does_not_delay_another() -> None:
    class OneHangs(FakeProber):
        async def probe(self, ref: WorkerRef, worker_id: str, pid: int) -> Verdict:
            self.takes = 1000 if ref.slot == 0 else 0
            return await super().probe(ref, worker_id, pid)

    prober = OneHangs(PASS)
    async with pool_of(FakeWorld(), plan(workers=2, health=PROBED), None, prober) as runner:
        await anyio.sleep(5.5)
        assert [at for at, slot in prober.asked if slot == 1] == [1, 2, 3, 4, 5]
        assert [at for at, slot in prober.asked if slot == 0] == [1]
        assert runner.pool.ready_count == 1


async def test_the_verdict_on_a_worker_that_has_died_meanwhile_changes_nothing() -> None:
    world, prober = FakeWorld(), FakeProber(PASS)
    async with pool_of(world, plan(health=PROBED), None, prober) as runner:
        await anyio.sleep(3.5)
        prober.verdict, prober.takes = FAIL, 2
        await anyio.sleep(1)
        world.kill(FIRST)  # by someone else, while its probe is under way
        await runner.until(lambda pool: pool.next_generation == 3)
        await anyio.sleep(1.6)
        life = runner.pool.slots[0].life
        assert life is not None
        assert not life.failing
