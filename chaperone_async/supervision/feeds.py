"""The periodic looks at a pool's workers, turned into events. A steady pool makes none: only failures, recoveries and
limits reached are reported."""

from collections.abc import Iterator
from functools import partial

import anyio
from anyio.abc import TaskGroup

from chaperone_async.core.events import CheckResult, HealthReported, JobOverdue, LimitReached, WorkerRef
from chaperone_async.core.expand import own_job_timeout
from chaperone_async.core.health import PASSIVE
from chaperone_async.core.pool import Pool
from chaperone_async.core.reasons import Reason
from chaperone_async.core.recycle import memory_limit
from chaperone_async.core.spec import MB
from chaperone_async.core.states import Frozen, Life, Running, Slot, Spawning, Starting, Stopping
from chaperone_async.supervision.hooks import in_callback, told, we_are_cancelled
from chaperone_async.supervision.runner import PoolRunner
from chaperone_async.system.ports import Prober, Telemetry, Usage, Verdict

PROBES_AT_ONCE = 64


class HealthFeed:
    """One per pool: every `interval` it samples all workers in one pass, judges what the sample shows, and starts the
    active checks. A check that is still under way is not started a second time."""

    def __init__(self, runner: PoolRunner) -> None:
        self._runner = runner
        self._under_way: set[tuple[WorkerRef, str]] = set()
        self._overdue: dict[int, tuple[WorkerRef, str]] = {}
        self._paused: dict[int, tuple[WorkerRef, dict[str, float]]] = {}  # seconds that a worker's jobs were paused
        self._limiter = anyio.CapacityLimiter(PROBES_AT_ONCE)

    async def run(self) -> None:
        async with anyio.create_task_group() as tasks:
            looked_at = anyio.current_time()
            while True:
                looked_at = await self._wait_since(looked_at)
                self._tick()
                if self._runner.terms.probing:
                    self._probe(tasks)

    async def _wait_since(self, looked_at: float) -> float:
        """For the interval, whatever it becomes meanwhile."""
        runner = self._runner
        while True:
            interval = runner.pool.spec.health.interval
            due = max(looked_at + interval, anyio.current_time())
            with anyio.CancelScope(deadline=due) as waiting:
                await runner.until(partial(_is_checked_otherwise, interval))
            if runner.over:
                await anyio.sleep_forever()  # and be cancelled
            if waiting.cancelled_caught:
                return due

    def _tick(self) -> None:
        runner = self._runner
        now = anyio.current_time()
        slots = [slot for slot in runner.pool.slots if slot.live]
        lives = [life for slot in slots if (life := slot.life) is not None and life.pid]
        usage = runner.sampler.sample([(life.ref, life.pid) for life in lives])
        runner.readings = runner.readings.followed_by(now, usage, [life.ref for life in lives])
        results: list[CheckResult] = []
        recycle = runner.pool.spec.recycle
        limited = recycle.max_memory or recycle.max_jobs
        timed = own_job_timeout(runner.pool.spec)
        for slot in slots:
            if isinstance(slot.state, Starting | Running | Stopping):
                life = slot.state.life
                seen, said = usage.get(life.ref), runner.telemetry.telemetry(life.ref)
                results.extend(self._judge(life, seen, said, now))
                if limited and not isinstance(slot.state, Stopping):
                    self._recycle(life, seen, said, now)
            if timed and slot.life is not None and not isinstance(slot.state, Spawning):
                self._time_job(slot.life, timed, now, frozen=isinstance(slot.state, Frozen))
        if results:
            runner.submit(HealthReported(tuple(results), now))

    def _judge(self, life: Life, usage: Usage | None, said: Telemetry, now: float) -> Iterator[CheckResult]:
        policy = self._runner.pool.spec.health
        failures: dict[str, str] = {}
        if usage is not None:
            if usage.state in "Tt":
                failures["process"] = f"stopped by a signal from outside (state {usage.state})"
            elif usage.state in "ZX":
                failures["process"] = "a zombie"
            if policy.memory_limit and usage.memory > policy.memory_limit:
                failures["memory"] = f"{usage.memory / MB:.0f} MB of at most {policy.memory_limit / MB:.0f} MB"
        if said.heartbeat_at is not None:
            wanted = self._runner.terms.of(life.ref).spec.health.heartbeat
            silent = now - max(said.heartbeat_at, life.awake_since)
            if 0 < wanted < silent:
                failures["heartbeat"] = f"none for {silent:.1f} s, wanted every {wanted:g} s"
        for check, detail in failures.items():
            yield CheckResult(life.ref, check, passed=False, detail=detail)
        for failing in life.failing:
            if failing.check in PASSIVE and failing.check not in failures and usage is not None:
                yield CheckResult(life.ref, failing.check, passed=True)

    def _recycle(self, life: Life, usage: Usage | None, said: Telemetry, now: float) -> None:
        if life.due is not None:
            return
        pool = self._runner.pool
        most = memory_limit(pool.spec.recycle, life.ref, pool.salt)
        if most is not None and usage is not None and usage.memory >= most:
            detail = f"{usage.memory / MB:.0f} MB of at most {most / MB:.0f} MB"
            self._runner.submit(LimitReached(life.ref, Reason.MEMORY, detail, now))
        self._runner.check_jobs(life.ref, said)

    def _time_job(self, life: Life, most: float, now: float, *, frozen: bool) -> None:
        """The job that has been in work for longest; told once. While its worker is paused its time stands still."""
        said = self._runner.telemetry.telemetry(life.ref)
        paused = self._pauses(life.ref, said, frozen=frozen)
        if frozen or not said.running:
            return
        taken, job = max((now - since - paused.get(job, 0.0), job) for job, since in said.running)
        if taken <= most or self._overdue.get(life.ref.slot) == (life.ref, job):
            return
        self._overdue[life.ref.slot] = life.ref, job
        name = f" ({said.current_job_name})" if said.current_job_name and job == said.current_job else ""
        detail = f"job {job}{name} has taken {taken:.1f} s of at most {most:g} s"
        self._runner.submit(JobOverdue(life.ref, detail, now))

    def _pauses(self, ref: WorkerRef, said: Telemetry, *, frozen: bool) -> dict[str, float]:
        """Seconds, of those jobs that it has now."""
        worker, before = self._paused.get(ref.slot, (ref, {}))
        if not frozen and not before:
            return before
        more = self._runner.pool.spec.health.interval if frozen else 0.0
        known = before if worker == ref else {}
        paused = {job: seconds for job, _ in said.running if (seconds := known.get(job, 0.0) + more)}
        self._paused[ref.slot] = ref, paused
        return paused

    # Active checks

    def _probe(self, tasks: TaskGroup) -> None:
        for slot in self._runner.pool.slots:
            if isinstance(slot.state, Starting | Running):
                for prober in self._runner.terms.of(slot.state.life.ref).probers:
                    key = (slot.state.life.ref, prober.check)
                    if key not in self._under_way:
                        self._under_way.add(key)
                        tasks.start_soon(self._probe_once, prober, slot, key)

    async def _probe_once(self, prober: Prober, slot: Slot, key: tuple[WorkerRef, str]) -> None:
        """In a task of its own: a check in Python can see that it is inside a callback."""
        life = slot.life
        if life is None:
            return
        in_callback.set(True)
        try:
            async with self._limiter:
                verdict = await prober.probe(life.ref, life.worker_id, life.pid)
        except anyio.get_cancelled_exc_class() as error:
            if we_are_cancelled():
                raise
            self._runner.check_raised(error)
            verdict = Verdict(passed=None, detail="the check was cancelled from inside")
        finally:
            self._under_way.discard(key)
        if verdict.passed is None:
            if self._life_of(life.ref) is not None:
                self._runner.complaints.check_broken(prober.check, verdict.detail, life.ref)
            return
        self._runner.complaints.check_works(prober.check, life.ref)
        if not verdict.passed or self._would_change(life.ref, prober.check):
            result = CheckResult(life.ref, prober.check, verdict.passed, told(verdict.detail))
            self._runner.submit(HealthReported((result,), anyio.current_time()))

    def _life_of(self, ref: WorkerRef) -> Life | None:
        """None: it is over."""
        slots = self._runner.pool.slots
        life = slots[ref.slot].life if ref.slot < len(slots) else None
        return life if life is not None and life.ref == ref else None

    def _would_change(self, ref: WorkerRef, check: str) -> bool:
        life = self._life_of(ref)
        return life is not None and (
            check not in life.probed or any(failing.check == check for failing in life.failing)
        )


def _is_checked_otherwise(interval: float, pool: Pool) -> bool:
    return pool.spec.health.interval != interval
