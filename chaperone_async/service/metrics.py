"""Snapshot → Prometheus: one collector whose values are read when it is asked; nothing is counted here.

Labels are few, and every series of a pool is there from its first scrape, with 0 where nothing has happened. A pool's
counters never go down; those of a removed pool go with it. Importing this brings prometheus_client.
"""

from collections.abc import Iterator, Sequence
from typing import get_args

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from chaperone_async.core.pool import PoolState
from chaperone_async.core.reasons import Reason
from chaperone_async.core.scaling import ClampName
from chaperone_async.core.states import Slot
from chaperone_async.core.status import Status, status_of
from chaperone_async.service.sentences import SENTENCES
from chaperone_async.service.views import Views, leaving_of, state_of
from chaperone_async.supervision.readings import Readings
from chaperone_async.supervision.supervisor import PoolView, Supervisor
from chaperone_async.supervision.totals import Totals, micros
from chaperone_async.system.ports import Usage

STATUSES: tuple[Status, ...] = get_args(Status)
POOL_STATES: tuple[PoolState, ...] = get_args(PoolState)
CLAMPS: tuple[ClampName, ...] = get_args(ClampName)
MICRO = 1_000_000


def exposition(supervisor: Supervisor, views: Views, accept: str) -> tuple[bytes, str]:
    """All of it in the format that this Accept header asks for; and its content type."""
    registry = CollectorRegistry()
    registry.register(_SupervisorCollector(supervisor, views))
    ProcessCollector(registry=registry)  # of ourselves
    try:
        encode, content_type = choose_encoder(accept)
    except (TypeError, ValueError):  # a version that is not a number
        encode, content_type = choose_encoder("")
    return encode(registry), content_type


class _SupervisorCollector(Collector):
    def __init__(self, supervisor: Supervisor, views: Views) -> None:
        self._supervisor = supervisor
        self._views = views

    def collect(self) -> Iterator[Metric]:
        snapshot, journal = self._supervisor.snapshot(), self._supervisor.journal
        about = InfoMetricFamily("chaperone", "The supervisor: its instance name and its version.")
        about.add_metric((), {"name": self._views.name, "version": self._views.version})
        yield about
        started = self._views.wall(snapshot.started_at).timestamp()
        yield _single("start_time_seconds", "When the supervisor started, in Unix time.", started)
        yield _single("draining", "1 while the supervisor shuts down.", snapshot.draining)
        events = _counter("events", "Entries of the journal, by event.", "event")
        counts = journal.counts()
        for kind in SENTENCES:
            events.add_metric((kind,), counts.get(kind, 0))
        yield events
        pools, queues = _PoolFamilies(), _QueueFamilies()
        for view in snapshot.pools:
            pools.add(view, journal.totals(view.pool.name))
            queues.add(view)
        yield from pools.families()
        yield from queues.families()


def _gauge(name: str, help_: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"chaperone_{name}", help_, labels=labels)


def _single(name: str, help_: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"chaperone_{name}", help_, value=value)


def _counter(name: str, help_: str, *labels: str) -> CounterMetricFamily:
    """Its samples end in _total."""
    return CounterMetricFamily(f"chaperone_{name}", help_, labels=labels)


class _PoolFamilies:
    """The metrics that have a pool for a label."""

    def __init__(self) -> None:
        self.workers = _gauge("pool_workers", "Slots of the pool by their status.", "pool", "status")
        self.state = _gauge("pool_state", "1 for the state that the pool is in.", "pool", "state")
        self.desired = _gauge("pool_desired_workers", "Workers that the pool is to have now.", "pool")
        self.ready_workers = _gauge("pool_ready_workers", "Workers that are ready.", "pool")
        self.least = _gauge("pool_min_ready_workers", "Workers that must be ready for the pool to be ready.", "pool")
        self.ready = _gauge("pool_ready", "1 while the pool is ready.", "pool")
        self.breaker = _gauge("breaker_open", "1 while all workers crash early and one at a time is tried.", "pool")
        self.leaving = _gauge("pool_leaving_workers", "Workers on their way out, beyond the desired ones.", "pool")
        self.memory = _gauge("pool_memory_bytes", "Resident memory of the workers' process trees.", "pool")
        self.cpu = _counter("pool_cpu_seconds", "Processor time of all workers, dead and living.", "pool")
        self.exits = _counter("worker_exits", "Workers that have ended, by reason.", "pool", "reason")
        self.restarts = _counter("worker_restarts", "Starts of a worker in a slot that had one before.", "pool")
        self.processed = _counter("jobs_processed", "Jobs that the workers say they have processed.", "pool")
        self.jobs = _counter("jobs", "Jobs that have ended, as the workers tell, by result.", "pool", "result")
        self.seconds = _gauge("job_seconds", "What the latest jobs took.", "pool", "statistic")
        self.waits = _gauge("job_wait_seconds", "What the latest jobs waited from ready to begun: average.", "pool")
        self.failures = _counter("callback_failures", "Callbacks and checks written in Python that failed.", "pool")

    def families(self) -> Iterator[Metric]:
        yield from vars(self).values()

    def add(self, view: PoolView, totals: Totals) -> None:
        pool, slots = view.pool, tuple(view.pool.slots)
        label = (pool.name,)
        self.desired.add_metric(label, pool.desired)
        self.ready_workers.add_metric(label, pool.ready_count)
        self.least.add_metric(label, pool.least_ready)
        self.ready.add_metric(label, pool.ready)
        self.breaker.add_metric(label, pool.breaker is not None)
        self.restarts.add_metric(label, totals.restarts)
        self.processed.add_metric(label, view.jobs_processed)
        self.leaving.add_metric(label, leaving_of(pool))
        self._add_jobs(view)
        self.failures.add_metric(label, view.callback_failures)
        for status, count in _statuses(slots).items():
            self.workers.add_metric((pool.name, status), count)
        for state in POOL_STATES:
            self.state.add_metric((pool.name, state), state == state_of(view))
        for reason in Reason:
            self.exits.add_metric((pool.name, reason), totals.exits.get(reason, 0))
        living = [usage for slot in slots if (usage := _usage(slot, view.readings)) is not None]
        self.memory.add_metric(label, sum(usage.memory for usage in living))
        self.cpu.add_metric(label, (totals.cpu_micros + sum(micros(usage.cpu_seconds) for usage in living)) / MICRO)

    def _add_jobs(self, view: PoolView) -> None:
        name, figures = view.pool.name, view.figures
        self.jobs.add_metric((name, "done"), view.jobs_processed)
        self.jobs.add_metric((name, "failed"), view.jobs_failed)
        for statistic, seconds in (("average", figures.average), ("p95", figures.p95)):
            if seconds is not None:
                self.seconds.add_metric((name, statistic), seconds)
        if figures.wait is not None:
            self.waits.add_metric((name,), figures.wait)


class _QueueFamilies:
    """Of pools whose queues are looked at, and of those that scale. What is unknown has no sample: it is not 0."""

    def __init__(self) -> None:
        self.jobs = _gauge("queue_jobs", "Jobs in the queues of the pool, by state.", "pool", "state")
        self.oldest = _gauge("queue_oldest_seconds", "How long the longest waiting job has waited.", "pool")
        self.up = _gauge("queue_up", "1 while the queues of the pool can be read.", "pool")
        self.clamps = _counter("scaler_clamps", "Decisions of the scaler that a limit changed.", "pool", "clamp")

    def families(self) -> Iterator[Metric]:
        yield from vars(self).values()

    def add(self, view: PoolView) -> None:
        name, demand, backlog = view.pool.name, view.demand, view.demand.backlog
        if demand.at is not None or demand.problem is not None:
            self.up.add_metric((name,), demand.problem is None)
        counts = {
            "ready": backlog.ready, "delayed": backlog.delayed, "reserved": backlog.reserved, "failed": backlog.failed
        }  # fmt: skip
        for state, count in counts.items():
            if count is not None:
                self.jobs.add_metric((name, state), count)
        if backlog.oldest_age is not None:
            self.oldest.add_metric((name,), backlog.oldest_age)
        if view.pool.spec.autoscale is not None:
            for clamp in CLAMPS:
                self.clamps.add_metric((name, clamp), view.clamps.get(clamp, 0))


def _statuses(slots: Sequence[Slot]) -> dict[Status, int]:
    found = dict.fromkeys(STATUSES, 0)
    for slot in slots:
        found[status_of(slot)] += not (slot.surplus and slot.life is None)  # a place that is only kept free
    return found


def _usage(slot: Slot, readings: Readings) -> Usage | None:
    """Of a live worker: what the dead have used is in the totals."""
    return readings.usage.get(slot.life.ref) if slot.live and slot.life is not None else None
