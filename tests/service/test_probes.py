"""The probes' truth table, row by row, and how an answer reads."""

import asyncio
from pathlib import Path

import pytest

from chaperone_async.core import events as ev
from chaperone_async.core.probes import Supervised
from chaperone_async.core.spec import CrashLoop, RestartPolicy
from tests.core.world import World
from tests.service.canned import Canned, served, spec, up, world

Row = tuple[int, int, int]
"""The status of livez, startupz and readyz."""


async def probe(canned: Canned, tmp_path: Path) -> Row:
    async with served(canned.face(), tmp_path) as where, where.session() as client:
        seen = []
        for name in ("livez", "startupz", "readyz"):
            async with client.get(f"/{name}") as answer:
                seen.append(answer.status)
    return seen[0], seen[1], seen[2]


async def test_a_stalled_supervision_fails_all_three(tmp_path: Path) -> None:
    canned = Canned(up(spec()))
    canned.stall(60)
    assert await probe(canned, tmp_path) == (503, 503, 503)


async def test_after_a_suspension_of_the_whole_process_supervision_has_its_turn_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    canned = Canned(up(spec()))
    look = canned.supervisor.probed

    def suspended() -> Supervised:
        """Just before; the timer of the next sign of life is overdue."""
        monkeypatch.setattr(canned.supervisor, "probed", look)
        canned.stall(60)
        loop = asyncio.get_running_loop()
        loop.call_later(0, loop.call_soon, canned.stall, -3600)
        return look()

    monkeypatch.setattr(canned.supervisor, "probed", suspended)
    assert await probe(canned, tmp_path) == (200, 200, 200)


async def test_a_pool_whose_supervision_broke_fails_all_three(tmp_path: Path) -> None:
    canned = Canned(up(spec("emails")), up(spec("sms")))
    canned.break_pool("sms")
    assert await probe(canned, tmp_path) == (503, 503, 503)


async def test_pools_not_yet_at_their_minimum_are_alive_but_not_started(tmp_path: Path) -> None:
    young = world(spec(workers=3))
    young.begin()
    assert await probe(Canned(up(spec("old")), young), tmp_path) == (200, 503, 503)


async def test_one_of_several_workers_restarting_changes_nothing(tmp_path: Path) -> None:
    several = up(spec(workers=3))
    several.dies(several.ref(1), code=1)
    assert await probe(Canned(several), tmp_path) == (200, 200, 200)


async def test_a_pool_under_min_ready_is_not_ready(tmp_path: Path) -> None:
    several = up(spec(workers=3, min_ready=3))
    several.dies(several.ref(1), code=1)
    assert await probe(Canned(several), tmp_path) == (200, 200, 503)


def fatal(on_fatal: str) -> World:
    policy = RestartPolicy(crash_loop=CrashLoop(count=1, action="fatal"))
    doomed = up(spec(on_fatal=on_fatal, restart=policy))
    while doomed.pool.fatal is None:
        doomed.dies(doomed.ref(0), code=1)
        doomed.advance(5)
        doomed.spawn_all()
    return doomed


async def test_a_fatal_pool_is_not_ready(tmp_path: Path) -> None:
    assert await probe(Canned(fatal("unready")), tmp_path) == (200, 200, 503)


async def test_a_fatal_pool_to_be_ignored_is_ignored(tmp_path: Path) -> None:
    assert await probe(Canned(fatal("ignore")), tmp_path) == (200, 200, 200)


async def test_a_pool_that_scales_to_zero_is_ready_without_workers(tmp_path: Path) -> None:
    empty = world(spec(workers=0))
    empty.begin()
    assert await probe(Canned(empty), tmp_path) == (200, 200, 200)


async def test_a_paused_pool_stays_ready(tmp_path: Path) -> None:
    paused = up(spec(workers=2))
    paused.send(ev.PauseRequested(None, paused.now))
    for ref in list(paused.alive):
        paused.dies(ref, code=0)
    assert paused.pool.state == "paused"
    assert await probe(Canned(paused), tmp_path) == (200, 200, 200)


async def test_a_draining_supervisor_is_alive_and_not_ready(tmp_path: Path) -> None:
    canned = Canned(up(spec()))
    canned.supervisor.deadline = 1e9
    assert await probe(canned, tmp_path) == (200, 200, 503)


@pytest.fixture
def two_pools() -> Canned:
    """One ready, one starting."""
    young = world(spec("sms", workers=2))
    young.begin()
    return Canned(up(spec("emails")), young)


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/livez", 200, "ok"),
        ("/livez?verbose", 200, "[+]supervision ok\nlivez check passed"),
        ("/readyz", 503, "[-]sms failed: starting: 0 of 1 workers ready"),
        (
            "/readyz?verbose",
            503,
            "[+]emails ok\n[-]sms failed: starting: 0 of 1 workers ready\nreadyz check failed",
        ),
        ("/readyz/emails", 200, "ok"),
        ("/readyz/emails?verbose", 200, "[+]emails ok\nreadyz check passed"),
        ("/readyz/sms", 503, "[-]sms failed: starting: 0 of 1 workers ready"),
        ("/startupz/emails", 200, "ok"),
        ("/startupz/sms", 503, "[-]sms failed: 0 of at least 1 workers ready"),
        ("/livez/sms", 200, "ok"),
        ("/healthz", 200, "ok\nemails running: 1 of 1 ready\nsms starting: 0 of 2 ready"),
        ("/healthz/emails", 200, "ok\nemails running: 1 of 1 ready"),
    ],
)
async def test_an_answer_is_ok_or_one_line_per_check(
    two_pools: Canned, tmp_path: Path, path: str, status: int, body: str
) -> None:
    async with served(two_pools.face(), tmp_path) as where, where.session() as client, client.get(path) as answer:
        assert (answer.status, await answer.text()) == (status, body)
        assert answer.content_type == "text/plain"
        assert answer.headers["Cache-Control"] == "no-store"


async def test_livez_of_a_pool_looks_at_that_pools_supervision_alone(two_pools: Canned, tmp_path: Path) -> None:
    two_pools.break_pool("sms")
    async with served(two_pools.face(), tmp_path) as where, where.session() as client:
        async with client.get("/livez/emails") as answer:
            assert answer.status == 200
        async with client.get("/livez/sms") as answer:
            assert (answer.status, await answer.text()) == (
                503,
                "[-]pool/sms failed: its supervision failed; see the log",
            )


async def test_json_is_answered_to_who_asks_for_it(two_pools: Canned, tmp_path: Path) -> None:
    async with served(two_pools.face(), tmp_path) as where, where.session() as client:
        wanted = {"Accept": "application/json"}
        async with client.get("/readyz", headers=wanted) as answer:
            assert answer.status == 503
            assert await answer.json() == {
                "status": "failed",
                "checks": [
                    {"name": "emails", "ok": True, "reason": None},
                    {"name": "sms", "ok": False, "reason": "starting: 0 of 1 workers ready"},
                ],
            }
        async with client.get("/healthz/emails", headers=wanted) as answer:
            assert (await answer.json())["pools"] == [
                {
                    "name": "emails", "state": "running", "ready": True, "ready_workers": 1, "desired": 1,
                    "degraded": None,
                }
            ]  # fmt: skip


@pytest.mark.parametrize("probe", ["livez", "readyz", "startupz", "healthz"])
async def test_a_head_answers_like_a_get_without_the_body(two_pools: Canned, tmp_path: Path, probe: str) -> None:
    async with served(two_pools.face(), tmp_path) as where, where.session() as client:
        got = await client.get(f"/{probe}")
        answer = await client.head(f"/{probe}")
        assert answer.status == got.status
        assert answer.headers["Content-Length"] == got.headers["Content-Length"]
        assert await answer.read() == b""


@pytest.mark.parametrize("probe", ["livez", "readyz", "startupz", "healthz"])
async def test_a_probe_of_an_unknown_pool_is_not_found(two_pools: Canned, tmp_path: Path, probe: str) -> None:
    async with served(two_pools.face(), tmp_path) as where, where.session() as client:
        answer = await client.get(f"/{probe}/faxes")
        assert (answer.status, answer.content_type) == (404, "application/problem+json")
        assert (await answer.json())["detail"] == "there is no pool named 'faxes'"


async def test_a_reason_of_many_lines_stays_on_one(tmp_path: Path) -> None:
    given_up = up(spec())
    given_up.send(ev.StopRequested(None, given_up.now, fatal="a\nb\n[+]c ok"))
    async with served(Canned(given_up).face(), tmp_path) as where, where.session() as client:
        answer = await client.get("/readyz")
        assert await answer.text() == "[-]emails failed: fatal: a b [+]c ok"
