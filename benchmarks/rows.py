"""What is measured. Each measure gets a contender not yet started and yields (label, values of one round)."""

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from benchmarks import machine
from benchmarks.contender import Contender

Figures = Iterator[tuple[str, list[float]]]


@dataclass(frozen=True)
class Effort:
    """How long and how often; `scale` divides the numbers of workers."""

    rounds: int
    kills: int
    queries: int
    idle_seconds: float
    scale: int = 1


FULL = Effort(rounds=3, kills=40, queries=200, idle_seconds=30)
QUICK = Effort(rounds=1, kills=8, queries=20, idle_seconds=3, scale=10)


def timed(act: Callable[[], object]) -> float:
    begun = time.perf_counter_ns()
    act()
    return (time.perf_counter_ns() - begun) / 1e6


def crash(contender: Contender, effort: Effort, size: int) -> Figures:
    supervisor = contender.start_settled(size)
    # Each slot crashes once: a second crash in a row is rightly delayed by restart rules, and would measure those.
    victims = random.sample(sorted(contender.born), min(effort.kills, size))
    begun, took = machine.cpu_ms(supervisor), []
    for victim in victims:
        time.sleep(random.uniform(0.02, 0.02 + contender.phase))
        took.append(contender.crash([victim]))
    time.sleep(0.1)
    yield f"one of {size} killed → replacement runs, ms", took
    yield "… supervisor CPU for one, ms", [(machine.cpu_ms(supervisor) - begun) / len(victims)]


def mass(contender: Contender, _: Effort, size: int) -> Figures:
    supervisor = contender.start_settled(size)
    time.sleep(random.uniform(0, contender.phase))
    begun = machine.cpu_ms(supervisor)
    yield f"{size} killed at once → {size} back, ms", [contender.crash(list(contender.born))]
    time.sleep(0.5)  # what is left to do for them counts as well
    yield f"… supervisor CPU for those {size}, ms", [machine.cpu_ms(supervisor) - begun]


def cycle(contender: Contender, _: Effort, size: int) -> Figures:
    launched = contender.start(size)
    yield f"cold start → {size} running, s", [(contender.wait_starts(size)[-1] - launched) / 1e9]
    time.sleep(2 + random.uniform(0, contender.phase))
    yield f"graceful stop → {size} and the supervisor gone, s", [contender.stop()]


def status(contender: Contender, effort: Effort, size: int) -> Figures:
    contender.start_settled(size)
    if ask := contender.status_query():
        ask()
        yield f"status of {size} workers, ms", [timed(ask) for _ in range(effort.queries)]


def idle(contender: Contender, effort: Effort, size: int) -> Figures:
    supervisor = contender.start_settled(size)
    time.sleep(min(8, effort.idle_seconds))
    begun, cpu = time.monotonic(), machine.cpu_ms(supervisor) + machine.reaped_cpu_ms(contender.pid)
    time.sleep(effort.idle_seconds)
    used = machine.cpu_ms(supervisor) + machine.reaped_cpu_ms(contender.pid) - cpu
    yield f"idle CPU with {size} workers, s per minute", [used / 1000 * 60 / (time.monotonic() - begun)]
    yield f"memory with {size} workers, PSS MiB", [machine.pss_mib(supervisor)]
    yield f"threads with {size} workers", [machine.threads(supervisor)]
    yield f"processes beside its {size} workers", [len(supervisor)]


def probe(contender: Contender, effort: Effort, size: int) -> Figures:
    contender.start_settled(size)
    ask = contender.probe()
    if ask is None:
        return
    latencies = []
    for _ in range(effort.queries):
        time.sleep(0.005)
        latencies.append(timed(ask))
    yield f"/livez with {size} workers, ms", latencies
    if size == 1:
        return
    recovered = threading.Event()

    def keep_asking() -> list[float]:
        took = []
        while not recovered.wait(0.002):
            took.append(timed(ask))
        return took

    with ThreadPoolExecutor(1) as pool:
        during = pool.submit(keep_asking)
        try:
            contender.crash(list(contender.born))
        finally:
            recovered.set()
    yield f"/livez while {size} killed workers come back, ms", during.result()


def orphans(contender: Contender, _: Effort, size: int) -> Figures:
    contender.start_settled(size)
    os.kill(contender.pid, signal.SIGKILL)
    time.sleep(1)
    yield f"of {size} workers left 1 s after SIGKILL of the supervisor", [sum(map(machine.is_alive, contender.born))]


def anyone(_: type[Contender]) -> bool:
    return True


@dataclass(frozen=True)
class Row:
    measure: Callable[[Contender, Effort, int], Figures]
    sizes: tuple[int, ...]
    able: Callable[[type[Contender]], bool] = anyone


ROWS = {
    "crash": Row(crash, (100,)),
    "mass": Row(mass, (100, 500)),
    "cycle": Row(cycle, (100, 500)),
    "status": Row(status, (100, 500), lambda kind: kind.status_query is not Contender.status_query),
    "idle": Row(idle, (1, 100, 1000)),
    "probe": Row(probe, (1, 500, 1000), lambda kind: kind.probe is not Contender.probe),
    "orphans": Row(orphans, (100,)),
}
