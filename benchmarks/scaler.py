"""Horizon's balancing against ours, on generated traces in virtual time: `python -m benchmarks.scaler`.

Two queues share ten workers, both scalers move one worker per queue in three seconds, and see the same samples each
second. The traces come from fixed seeds, so that two runs agree to the digit. Nothing is timed: any machine will do.
"""

import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Literal

from chaperone_async.core.demand import AutoscalePolicy
from chaperone_async.core.simulation import Control, Job, Outcome, Scaler, percentile, simulate
from tests.core.horizon import Horizon, HorizonControl

TOTAL, LENGTH, TARGET, SEEDS = 10, 3600.0, 2.0, range(5)
Trace = dict[str, list[Job]]


def poisson(rng: random.Random, rate: float, begin: float, end: float, mean: float) -> Iterator[Job]:
    """Arrivals at random, of exponential service times."""
    at = begin
    while (at := at + rng.expovariate(rate)) < end:
        yield Job(at, rng.expovariate(1 / mean))


def steady(rng: random.Random) -> Trace:
    return {
        "emails": list(poisson(rng, 8, 0, LENGTH, 0.2)),
        "reports": list(poisson(rng, 0.8, 0, LENGTH, 4)),
    }


def bursty(rng: random.Random) -> Trace:
    """Of emails a burst every five minutes, and little between; reports come in waves of their own."""
    bursts = chain.from_iterable(poisson(rng, 60, at, at + 20, 0.2) for at in range(100, int(LENGTH), 300))
    waves = chain.from_iterable(poisson(rng, 2, at, at + 60, 4) for at in range(400, int(LENGTH), 700))
    return {
        "emails": sorted(chain(poisson(rng, 0.5, 0, LENGTH, 0.2), bursts)),
        "reports": sorted(chain(poisson(rng, 0.1, 0, LENGTH, 4), waves)),
    }


def long_job(rng: random.Random) -> Trace:
    """Among many short jobs, now and then one that takes a minute."""
    long_ones = (Job(float(at), 60.0) for at in range(60, int(LENGTH), 150))
    return {
        "emails": sorted(chain(poisson(rng, 6, 0, LENGTH, 0.2), long_ones)),
        "reports": list(poisson(rng, 0.3, 0, LENGTH, 4)),
    }


def ours(stabilization: float) -> Control:
    policy = AutoscalePolicy(strategy="latency", target=TARGET, min=1, max=TOTAL - 1, stabilization=stabilization)
    return Scaler({"emails": policy, "reports": policy}, TOTAL)


def horizon(strategy: Literal["time", "size"]) -> Control:
    return HorizonControl(Horizon(most=TOTAL, strategy=strategy))


CONTENDERS: dict[str, Callable[[], Control]] = {
    "Horizon, time": lambda: horizon("time"),
    "Horizon, size": lambda: horizon("size"),
    f"ours, {TARGET:g} s": lambda: ours(AutoscalePolicy().stabilization),
    f"ours, {TARGET:g} s, not stabilized": lambda: ours(0),
}
TRACES: dict[str, Callable[[random.Random], Trace]] = {
    "steady": steady,
    "bursty": bursty,
    "one long among short": long_job,
}


def row(trace: str, contender: str, outcomes: Sequence[Mapping[str, Outcome]]) -> str:
    """Over all seeds together; what is counted, for one."""
    each = [outcome for by_name in outcomes for outcome in by_name.values()]
    waits = [wait for outcome in each for wait in outcome.waits]
    cost, starts = sum(outcome.worker_seconds for outcome in each), sum(outcome.started for outcome in each)
    waiting = (f"{sum(waits) / len(waits):.2f}", f"{percentile(waits, 0.95):.2f}", f"{max(waits):.1f}")
    counted = (f"{cost / len(outcomes):.0f}", f"{starts / len(outcomes):.0f}")
    return f"| {' | '.join((trace, contender, *waiting, *counted))} |"


def main() -> int:
    print("| trace | scaler | waiting, mean s | p95 | max | worker-seconds | workers started |")
    print(f"|{' --- |' * 7}")
    for title, make in TRACES.items():
        traces = [make(random.Random(seed)) for seed in SEEDS]
        for name, control in CONTENDERS.items():
            start = {"emails": 1, "reports": 1}
            print(row(title, name, [simulate(trace, control(), start, until=LENGTH) for trace in traces]), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
