"""What Prometheus scrapes: names and types that promtool accepts, values that agree with the API, counters that never
go down."""

import re
import subprocess
import sys
import threading
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from chaperone_async.core.actions import Announce, Death
from chaperone_async.core.events import RestartRequested, ScaleRequested, WorkerRef
from chaperone_async.core.reasons import Reason
from chaperone_async.service.metrics import exposition
from chaperone_async.supervision.journal import Journal
from chaperone_async.supervision.readings import Readings
from chaperone_async.system.ports import Telemetry, Usage
from tests.core.world import World
from tests.service.canned import Canned, served, spec, up

OPENMETRICS = "application/openmetrics-text;version=1.0.0"
PROMETHEUS = (  # what version 3 sends
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
BASE_UNITS = ("_seconds", "_bytes")
OTHER_UNITS = re.compile(r"(milli|micro|nano|kilo|mega|giga)|_(minutes|hours|days|ms|us|ns|kb|mb|gb|percent)(_|$)")

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def families(canned: Canned) -> list[Metric]:
    return list(parse_text(exposition(canned.supervisor, canned.views, "")[0].decode()))


def samples(found: Iterable[Metric]) -> Samples:
    return {(one.name, frozenset(one.labels.items())): one.value for family in found for one in family.samples}


def value(canned: Canned, what: str, **labels: str) -> float:
    return samples(families(canned))[f"chaperone_{what}", frozenset(labels.items())]


def counters(canned: Canned) -> Samples:
    return samples(family for family in families(canned) if family.type == "counter")


@pytest.fixture
def emails() -> World:
    return up(spec(workers=3))


@pytest.fixture
def canned(emails: World) -> Canned:
    return Canned(emails, up(spec("sms")))


# The formats


async def test_a_scraper_that_names_no_format_gets_text(canned: Canned, tmp_path: Path) -> None:
    async with served(canned.face(), tmp_path) as where, where.session() as client:
        answer = await client.get("/metrics")
        assert (answer.status, answer.headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
        found = samples(parse_text(await answer.text()))
    assert found["chaperone_info", frozenset({("name", "test"), ("version", "1.2.3")})] == 1


async def test_a_scraper_is_answered_where_no_thread_is_to_be_had(
    canned: Canned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async with served(canned.face(), tmp_path) as where, where.session() as client:
        monkeypatch.setattr(threading.Thread, "start", refuse)
        assert (await client.get("/metrics")).status == 200


async def test_a_scraper_that_prefers_openmetrics_gets_it(canned: Canned, tmp_path: Path) -> None:
    async with served(canned.face(), tmp_path) as where, where.session() as client:
        for accept in (OPENMETRICS, PROMETHEUS):
            answer = await client.get("/metrics", headers={"Accept": accept})
            assert answer.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0;")
            text = await answer.text()
            assert text.endswith("# EOF\n")
            parsed = parse_openmetrics(text)  # type: ignore[no-untyped-call]  # the library has no types
            assert samples(parsed).keys() >= samples(families(canned)).keys()


@pytest.mark.parametrize(
    "accept", ["text/plain;version=x", f"{OPENMETRICS}.x", ";;=,", "application/json", "text/html"]
)
async def test_a_strange_accept_header_gets_text(canned: Canned, tmp_path: Path, accept: str) -> None:
    async with served(canned.face(), tmp_path) as where, where.session() as client:
        answer = await client.get("/metrics", headers={"Accept": accept})
        assert answer.status == 200
        assert samples(parse_text(await answer.text()))


async def test_it_is_read_with_the_credentials_of_the_api(canned: Canned, tmp_path: Path) -> None:
    async with served(canned.face(token="t"), tmp_path) as where, where.session() as client:
        assert (await client.get("/metrics")).status == 401
        assert (await client.get("/metrics", headers={"Authorization": "Bearer t"})).status == 200
        assert (await client.head("/metrics", headers={"Authorization": "Bearer t"})).status == 200


async def test_names_types_and_help_are_as_promtool_wants_them(canned: Canned) -> None:
    """The rules of `promtool check metrics`."""
    text = exposition(canned.supervisor, canned.views, "")[0].decode()
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    helps = dict(re.findall(r"^# HELP (\S+) (.+)$", text, re.MULTILINE))
    assert types.keys() == helps.keys()
    assert {name for name in types if not name.startswith(("chaperone_", "process_"))} == set()
    for name, kind in types.items():
        assert kind in {"gauge", "counter"}
        assert name.endswith("_total") == (kind == "counter"), name
        assert re.fullmatch(r"[a-z][a-z_]*[a-z]", name), name
        assert not OTHER_UNITS.search(name), name
        for unit in BASE_UNITS:
            assert unit not in name or name.removesuffix("_total").endswith(unit), name
        assert not name.removesuffix("_total").endswith(("_count", "_sum", "_bucket", "_info")) or name.endswith(
            "_info"
        )
        assert kind not in name.split("_"), name


async def test_every_series_of_a_pool_is_there_before_anything_has_happened(canned: Canned) -> None:
    exits = {dict(labels)["reason"] for (name, labels) in counters(canned) if name == "chaperone_worker_exits_total"}
    assert exits == set(Reason)
    assert value(canned, "events_total", event="worker.crashed") == 0


# The values


async def test_gauges_tell_what_the_api_tells(canned: Canned, emails: World) -> None:
    emails.dies(emails.ref(1), code=3)
    canned.supervisor.runner("emails").pool = emails.pool
    shown = canned.views.pool_summary(canned.supervisor.snapshot().pools[0])
    assert value(canned, "pool_desired_workers", pool="emails") == shown["desired"] == 3
    assert value(canned, "pool_ready_workers", pool="emails") == shown["ready_workers"] == 2
    assert value(canned, "pool_min_ready_workers", pool="emails") == shown["min_ready"] == 1
    assert value(canned, "pool_ready", pool="emails") == shown["ready"] == 1
    assert value(canned, "pool_workers", pool="emails", status="running") == 2
    assert value(canned, "pool_workers", pool="emails", status="starting") == 1
    assert value(canned, "pool_workers", pool="emails", status="fatal") == 0
    states = [
        dict(labels)["state"]
        for (name, labels), on in samples(families(canned)).items()
        if name == "chaperone_pool_state" and ("pool", "emails") in labels and on
    ]
    assert states == [shown["state"]]
    assert value(canned, "breaker_open", pool="emails") == value(canned, "draining") == 0


async def test_memory_and_processor_time_are_of_all_workers(canned: Canned, emails: World) -> None:
    measured = Usage(memory=1_000_000, cpu_seconds=1.5)
    canned.measure("emails", {emails.ref(0): measured, emails.ref(2): measured})
    canned.said.table[emails.ref(0)] = Telemetry(spoke=True, jobs_done=3)
    assert value(canned, "pool_memory_bytes", pool="emails") == 2_000_000
    assert value(canned, "pool_cpu_seconds_total", pool="emails") == 3
    assert value(canned, "jobs_processed_total", pool="emails") == 3


async def test_a_draining_supervisor_and_an_open_breaker_show(canned: Canned) -> None:
    looping = up(spec("looping"))
    while not looping.broken():
        looping.crash()
        looping.advance(looping.spec.restart.backoff.max)
    canned.add(looping)
    canned.supervisor.shut_down(looping.now + 10)
    assert value(canned, "breaker_open", pool="looping") == value(canned, "draining") == 1
    assert value(canned, "pool_state", pool="looping", state="crash_loop") == 1


async def test_names_that_need_escaping_survive(canned: Canned) -> None:
    canned.views.name = 'a "quoted"\\\nname'
    assert value(canned, "info", name=canned.views.name, version="1.2.3") == 1


# Counters


class Counted:
    """A canned pool and its journal, which is told all that the pool announces."""

    def __init__(self, state: World) -> None:
        self.canned = Canned(state)
        self._state = state
        self._told = 0
        self._runner = self.canned.supervisor.runner(state.spec.name)
        self.before: Samples = {}
        for news in state.told:
            self._tell(news)

    def _tell(self, news: Announce) -> None:
        if news.death is not None:
            self._runner._bury(news.death)
        self.canned.supervisor.journal.add(self._state.spec.name, news)
        self._told += 1

    def follow(self) -> Samples:
        """What the pool has announced meanwhile is told; no counter may have gone down."""
        self._runner.pool = self._state.pool
        for news in self._state.told[self._told :]:
            self._tell(news)
        now = counters(self.canned)
        assert not {key: (was, now.get(key)) for key, was in self.before.items() if now.get(key, -1) < was}
        self.before = {key: count for key, count in now.items() if key[0].startswith("chaperone_")}
        return now

    def of(self, what: str, **labels: str) -> float:
        return self.follow()[f"chaperone_{what}", frozenset({"pool": self._state.spec.name, **labels}.items())]


async def test_no_counter_goes_down_when_workers_die_and_slots_go() -> None:
    state = up(spec(workers=4))
    counted = Counted(state)
    measured = {state.ref(slot): Usage(cpu_seconds=0.1 * slot + 0.01) for slot in range(4)}
    counted.canned.measure("emails", measured)
    for ref in measured:
        counted.canned.said.table[ref] = Telemetry(spoke=True, jobs_done=10 + ref.slot)
    assert counted.of("pool_cpu_seconds_total") == 0.64
    for slot in (0, 3, 1):
        state.dies(state.ref(slot), code=1)
        counted.follow()
        state.spawn_all()
        counted.follow()
    state.send(ScaleRequested(1, state.now))
    counted.follow()
    for ref in [ref for ref in state.alive if ref.slot > 0]:
        state.dies(ref, signal=15)
        counted.follow()
    assert len(state.pool.slots) == 1
    assert counted.of("pool_cpu_seconds_total") == 0.64
    assert counted.of("jobs_processed_total") == 46
    assert counted.of("worker_restarts_total") == 3
    assert counted.of("worker_exits_total", reason="error") == 3
    assert counted.of("worker_exits_total", reason="scaled_down") == 3


async def test_restarts_are_those_that_the_api_shows_as_long_as_no_slot_goes() -> None:
    state = up(spec(workers=3))
    counted = Counted(state)
    for slot in (0, 0, 2):
        state.crash(slot)
        state.advance(60)
        state.spawn_all()
    state.dies(state.ref(1), code=1)
    state.spawn_failed(state.asked[0])
    state.advance(60)
    state.spawn_all()
    state.request(RestartRequested, 2)
    state.dies(state.ref(2), signal=15)
    state.spawn_all()
    assert counted.of("worker_restarts_total") == sum(slot.restarts for slot in state.pool.slots) == 6
    assert counted.of("worker_exits_total", reason="spawn_error") == 1


async def test_a_slot_that_was_removed_and_comes_again_is_not_a_restart() -> None:
    state = up(spec(workers=2))
    counted = Counted(state)
    state.send(ScaleRequested(1, state.now))
    state.dies(state.ref(1), signal=15)
    state.send(ScaleRequested(2, state.now))
    state.spawn_all()
    assert counted.of("worker_restarts_total") == 0


async def test_exits_are_counted_beyond_the_records_that_are_kept() -> None:
    state = up(spec(crash_records=2))
    counted = Counted(state)
    for _ in range(5):
        state.crash()
        state.advance(60)
        state.spawn_all()
    assert counted.of("worker_exits_total", reason="error") == 5
    assert len(counted.canned.supervisor.journal.crashes("emails")) == 2


async def test_a_pool_that_is_removed_takes_its_series_with_it(canned: Canned) -> None:
    canned.supervisor._forget("sms")
    assert {labels.get("pool") for f in families(canned) for s in f.samples if (labels := s.labels)} & {"sms"} == set()


def test_what_the_dead_have_used_is_kept_where_the_last_look_came_too_late() -> None:
    gone, alive = WorkerRef("p", 0, 1), WorkerRef("p", 1, 2)
    before = Readings(1.0, {gone: Usage(cpu_seconds=5), alive: Usage(cpu_seconds=1)})
    after = before.followed_by(2.0, {alive: Usage(cpu_seconds=2)}, [gone, alive])
    assert after == Readings(2.0, {gone: Usage(cpu_seconds=5), alive: Usage(cpu_seconds=2)})
    assert after.followed_by(3.0, {alive: Usage(cpu_seconds=3)}, [alive]) == Readings(
        3.0, {alive: Usage(cpu_seconds=3)}
    )


def test_sums_do_not_depend_on_the_order_of_deaths() -> None:
    """A sum of fractions does, and one that is smaller by 1e-16 is a restart in Prometheus' eyes."""
    journal = Journal()
    end = Death(WorkerRef("p", 0, 1), "p-1", 1, Reason.EXIT, "", 0, None, 1.0, False, 0.0)
    for slot in range(10):
        death = replace(end, ref=WorkerRef("p", slot, slot + 1))
        journal.record("p", death, kept=1, peak_memory=0, cpu_seconds=0.1, job=None, output=())
    assert journal.totals("p").cpu_micros == 1_000_000


def test_those_who_are_not_scraped_do_not_load_the_library() -> None:
    program = "import sys, chaperone_async.service.http.server; sys.exit('prometheus_client' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
