"""The example of the interface, as a user would write it."""

from datetime import UTC, datetime, timedelta

from chaperone_async import Worker, WorkerPoolSupervisor
from tests.api.world import SPEAKS, STEADY, eventually, pool_of, ready, supervised


async def test_the_example_of_the_interface_runs() -> None:
    checked: list[str] = []

    async def check(worker: Worker) -> bool:
        checked.append(worker.id)
        return worker.is_responsive() and worker.memory_usage() < 1024 and worker.uptime < timedelta(hours=2)

    def handle_crash(worker: Worker) -> None:
        raise AssertionError(f"{worker} did not crash")

    async def handle_unhealthy(worker: Worker) -> None:
        raise AssertionError(f"{worker} was not unhealthy")

    pool = (
        WorkerPoolSupervisor("email-workers")
        .workers(5)
        .queue("emails")
        .command(["sh", "-c", "echo I serve {queue}; exec sleep 600"])
        .with_health_check(check)
        .on_crash(handle_crash)
        .on_unhealthy(handle_unhealthy)
    )
    async with supervised(pool):
        await eventually(ready(pool, 5))
        status = pool.status()
        assert len(set(checked)) == 5
        assert (status["state"], status["ready"], status["running"]) == ("running", True, 5)
        assert status["callback_failures"] == 0
        await pool.stop()


async def test_a_check_sees_a_worker_as_it_is() -> None:
    seen: list[tuple[object, ...]] = []

    def check(worker: Worker) -> bool:
        if worker.activity == "busy" and worker.memory_usage():
            facts = (worker.queue, worker.slot, worker.jobs_processed, worker.current_job, worker.is_responsive())
            assert worker.pid is not None
            assert worker.id.startswith("emails-")
            assert worker.cpu_percent() >= 0
            assert datetime.now(UTC) - worker.started_at < timedelta(minutes=1)
            assert worker.uptime > timedelta(0)
            assert worker.last_health_check is not None
            assert worker.last_health_check.tzinfo is UTC
            assert worker.logs() == ["at work"]
            assert (worker.exit_code, worker.exit_signal, worker.exit_reason) == (None, None, None)
            seen.append(facts)
        return True

    pool = pool_of(SPEAKS).with_health_check(check)
    async with supervised(pool):
        await eventually(lambda: seen or pool.status()["callback_failures"])
        assert seen[:1] == [("emails", 0, 1, "job-2", True)], pool.status()["last_callback_failure"]


async def test_a_pool_whose_check_fails_three_times_restarts_the_worker() -> None:
    async def check(worker: Worker) -> bool:
        return worker.uptime < timedelta(seconds=0.3)

    pool = pool_of(STEADY).with_health_check(check)
    async with supervised(pool):
        await eventually(lambda: pool.status()["restarts"] == 1)
        assert pool.status()["workers"][0]["slot"] == 0
