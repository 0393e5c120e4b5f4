"""The supervisor's own probes: open to all, one line per check, in the manner of kube-apiserver."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from aiohttp import web
from msgspec import Meta, Struct

from chaperone_async.core import probes
from chaperone_async.core.pool import Pool
from chaperone_async.core.probes import Check, Supervised
from chaperone_async.errors import UnknownPool
from chaperone_async.service import wire
from chaperone_async.service.http.answers import FACE, json_response, wants_json
from chaperone_async.service.http.route import Route
from chaperone_async.supervision.supervisor import Supervisor

TURNS = 10
"""Of the loop: a task whose time is up runs in the third at the latest."""


class ProbeQuery(Struct, frozen=True):
    verbose: Annotated[str, Meta(description="given, with whatever value: a line for each check")] = ""


@dataclass(frozen=True, slots=True)
class Probe:
    """`summary`: a line for each pool follows, whatever the verdict."""

    name: str
    question: str
    look: Callable[[Supervised], Sequence[Check]]
    summary: bool = False

    async def answer(self, request: web.Request) -> web.Response:
        """All pools, or the one in the path. Raises UnknownPool."""
        seen = await _look_at(request.app[FACE].supervisor)
        name = request.match_info.get("pool")
        if name is not None:
            seen = _only(seen, name)
        checks = self.look(seen)
        passed = all(check.ok for check in checks)
        status = 200 if passed else 503
        if wants_json(request):
            return json_response(self._document(checks, passed, seen), status)
        lines = self._verbose(checks, passed) if "verbose" in request.query else _terse(checks)
        if self.summary:
            lines += _lines(seen)
        return web.Response(text="\n".join(lines), status=status)

    def _document(self, checks: Sequence[Check], passed: bool, seen: Supervised) -> wire.ProbeDocument:  # noqa: FBT001  data
        document: wire.ProbeDocument = {
            "status": "ok" if passed else "failed",
            "checks": [{"name": check.name, "ok": check.ok, "reason": check.reason or None} for check in checks],
        }
        return _with_pools(document, seen) if self.summary else document

    def _verbose(self, checks: Sequence[Check], passed: bool) -> list[str]:  # noqa: FBT001  data
        return [*map(_verdict, checks), f"{self.name} check {'passed' if passed else 'failed'}"]


async def _look_at(supervisor: Supervisor) -> Supervised:
    """After the whole process was suspended, a request may have its turn before the supervision task, whose sign of
    life is overdue: that goes first. One that hangs makes no use of it."""
    for _ in range(TURNS):
        seen = supervisor.probed()
        if seen.pulse_age <= probes.STALLED_AFTER:
            return seen
        await asyncio.sleep(0)
    return supervisor.probed()


def _only(seen: Supervised, name: str) -> Supervised:
    pool = next((pool for pool in seen.pools if pool.name == name), None)
    if pool is None:
        raise UnknownPool(name)
    broken, degraded = ([pair for pair in pairs if pair[0] == name] for pairs in (seen.broken, seen.degraded))
    return replace(seen, pools=(pool,), broken=broken, degraded=degraded)


def _terse(checks: Sequence[Check]) -> list[str]:
    return [_verdict(check) for check in checks if not check.ok] or ["ok"]


def _verdict(check: Check) -> str:
    reason = " ".join(check.reason.split())
    if check.ok:
        return f"[+]{check.name} ok" + (f", {reason}" if reason else "")
    return f"[-]{check.name} failed: {reason}"


def _lines(seen: Supervised) -> list[str]:
    degraded = dict(seen.degraded)
    told = ((pool, " ".join(degraded.get(pool.name, "").split())) for pool in seen.pools)
    return [
        f"{pool.name} {pool.state}: {pool.ready_count} of {pool.desired} ready" + (f"; degraded: {why}" if why else "")
        for pool, why in told
    ]


def _with_pools(document: wire.ProbeDocument, seen: Supervised) -> wire.HealthDocument:
    degraded = dict(seen.degraded)
    return {**document, "pools": [_summary(pool, degraded.get(pool.name)) for pool in seen.pools]}


def _summary(pool: Pool, degraded: str | None) -> wire.ProbedPool:
    return {
        "name": pool.name,
        "state": pool.state,
        "ready": pool.ready,
        "ready_workers": pool.ready_count,
        "desired": pool.desired,
        "degraded": degraded,
    }


PROBES = (
    Probe("livez", "Is the supervisor alive?", probes.livez),
    Probe("readyz", "Are all pools ready?", probes.readyz),
    Probe("startupz", "Has every pool once been at its minimum?", probes.startupz),
    Probe("healthz", "Is the supervisor alive, and how are its pools?", probes.livez, summary=True),
)


def _route(probe: Probe, path: str) -> Route:
    shapes = ("text/plain", wire.HealthDocument if probe.summary else wire.ProbeDocument)
    return Route(
        method="GET", path=path, handler=probe.answer, access="open",
        summary=probe.question, query=ProbeQuery, answers={200: shapes, 503: shapes},
    )  # fmt: skip


ROUTES = tuple(_route(probe, path) for probe in PROBES for path in (f"/{probe.name}", f"/{probe.name}/{{pool}}"))
