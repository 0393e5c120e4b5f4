"""How many workers each autoscaled pool gets: all pools are decided about together, since they may share a budget."""

from collections.abc import Callable, Iterable

import anyio

from chaperone_async.core.budget import decide_together
from chaperone_async.core.demand import AutoscalePolicy
from chaperone_async.core.events import ScaleRequested
from chaperone_async.core.pool import Pool
from chaperone_async.core.scaling import Decision, ScalerState
from chaperone_async.supervision.demand import present_of, sample_of
from chaperone_async.supervision.runner import PoolRunner

INTERVAL = 1.0
_QUICKEST = 0.25  # seconds between two ticks, however much the queues grow
BY = "the scaler"
KEPT = 500
_RETOLD = 60.0  # seconds after which a decision that changes nothing is kept again


class Scaler:
    """`total`: the budget; None: there is none. It may be changed while it runs."""

    def __init__(self, runners: Callable[[], Iterable[PoolRunner]]) -> None:
        self.total: int | None = None
        self._runners = runners
        self._states: dict[str, ScalerState] = {}
        self._nudged = anyio.Event()

    def nudge(self) -> None:
        """More jobs wait than did a moment ago: that is not to wait for the next tick."""
        self._nudged.set()

    async def run(self) -> None:
        while True:
            now = anyio.current_time()
            with anyio.CancelScope(deadline=now + INTERVAL):
                await self._nudged.wait()
                await anyio.sleep_until(now + _QUICKEST)
            self._nudged = anyio.Event()
            self._tick()

    def _tick(self) -> None:
        """A pool on hold decides nothing, and forgets nothing that it has learnt; what lives of it still counts against
        the budget, and what a paused one comes back with."""
        runners = {runner.pool.name: runner for runner in self._runners() if runner.pool.spec.autoscale is not None}
        awake = {name: runner for name, runner in runners.items() if _scales(runner)}
        policies: dict[str, AutoscalePolicy] = {
            name: policy for name, runner in awake.items() if (policy := runner.pool.spec.autoscale) is not None
        }
        states = {name: self._states.get(name, ScalerState()) for name in runners}
        resting = sum(_rests(runner.pool) for name, runner in runners.items() if name not in awake)
        samples = {name: sample_of(runner, runner.demand) for name, runner in awake.items()}
        presents = {name: present_of(runner) for name, runner in awake.items()}
        total = None if self.total is None else max(self.total - resting, sum(p.min for p in policies.values()))
        decisions, decided = decide_together(total, policies, states, samples, presents)
        self._states = {name: decided.get(name, ScalerState(states[name].estimate)) for name in runners}
        for name, decision in decisions.items():
            self._carry_out(awake[name], decision)

    def _carry_out(self, runner: PoolRunner, decision: Decision) -> None:
        runner.clamps.update({step.name for step in decision.steps})
        if tells(decision, runner.decisions[-1] if runner.decisions else None):
            runner.decisions.append(decision)
        if decision.wanted != runner.pool.desired:
            runner.submit(ScaleRequested(decision.wanted, decision.at, BY, patient=True, why=decision.reason))


def _scales(runner: PoolRunner) -> bool:
    pool = runner.pool
    return pool.hold is None and pool.fatal is None and not pool.shutting


def _rests(pool: Pool) -> int:
    paused = pool.hold is not None and pool.hold.why == "pause" and pool.fatal is None and not pool.shutting
    return max(pool.live, pool.desired) if paused else pool.live


def tells(decision: Decision, before: Decision | None) -> bool:
    """Whether a decision is worth keeping: it changes something, or is what it is for other reasons than the last."""
    if before is None or decision.wanted != decision.from_:
        return True
    reasons = [(step.name, step.after) for step in decision.steps]
    return reasons != [(step.name, step.after) for step in before.steps] or decision.at - before.at >= _RETOLD
