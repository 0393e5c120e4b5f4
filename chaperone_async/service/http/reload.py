"""The configuration read anew: what that would change, and the change itself."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Annotated, Any

from aiohttp import web
from msgspec import Meta

from chaperone_async.core.plan import Difference, PoolPlan
from chaperone_async.core.spec import PoolSpec
from chaperone_async.errors import ConflictError
from chaperone_async.service import wire
from chaperone_async.service.http.answers import FACE, json_response
from chaperone_async.service.http.auth import caller
from chaperone_async.service.http.inputs import read_query
from chaperone_async.service.http.outcome import WaitQuery, answer_operation
from chaperone_async.service.http.route import Route
from chaperone_async.service.reload import ReloadPlan, summary
from chaperone_async.service.settings import SettingChange
from chaperone_async.supervision.hooks import told
from chaperone_async.system.config.effective import flat, pool_values
from chaperone_async.system.config.secrets import MASKED, is_secret_key, mask


class ReloadQuery(WaitQuery, frozen=True):
    dry_run: Annotated[bool, Meta(description="only tell what would change")] = False
    force: Annotated[bool, Meta(description="also where pools are still being changed by an earlier reload")] = False


async def reload(request: web.Request) -> web.Response:
    query, reloader = read_query(request, ReloadQuery), request.app[FACE].reloader
    if reloader is None:
        raise ConflictError("cannot reload: this supervisor has no configuration file; start it with `chaperone up`")
    if query.dry_run:
        return json_response(plan_document(await reloader.plan()))
    plan, operation = await reloader.reload(caller(request), force=query.force)
    return await answer_operation(request, operation, query.wait, {"plan": plan_document(plan)})


def plan_document(plan: ReloadPlan) -> wire.PlanDocument:
    """Without secrets: neither values of secret keys, nor what a secret variable has brought into others."""
    after = {spec.name: spec for spec in plan.config.pools}
    return {
        "summary": mask(summary(plan), plan.hidden),
        "empty": plan.empty,
        "pools": [_pool(pool, plan.before, after, plan.hidden) for pool in plan.pools.pools],
        "unchanged": list(plan.pools.unchanged),
        "settings": [_setting(setting, plan.hidden) for setting in plan.settings],
        "warnings": [told(mask(warning, plan.hidden)) for warning in plan.warnings],
    }


def _pool(
    pool: PoolPlan, before: Mapping[str, PoolSpec], after: Mapping[str, PoolSpec], hidden: frozenset[str]
) -> wire.PlannedPool:
    differences: list[wire.PoolDifference] = []
    if pool.kind == "change":
        old, new = flat(pool_values(before[pool.name])), flat(pool_values(after[pool.name]))
        differences = [_difference(pool.name, difference, old, new, hidden) for difference in pool.differences]
    return {"pool": pool.name, "kind": pool.kind, "rolling": pool.rolling, "differences": differences}


Values = Mapping[tuple[str, ...], Any]


def _difference(
    pool: str, difference: Difference, old: Values, new: Values, hidden: frozenset[str]
) -> wire.PoolDifference:
    """With the values as one would write them; what is no key of the file has none but its own."""
    keys = tuple(difference.key.split(".", 1 if difference.key.startswith("env.") else -1))  # a variable may have dots
    written = keys in old or keys in new
    before, after = (old.get(keys), new.get(keys)) if written else (difference.old, difference.new)
    secret = is_secret_key(("pools", pool, *keys))
    return {
        "key": difference.key,
        "old": _shown(before, hidden, secret=secret),
        "new": _shown(after, hidden, secret=secret),
        "rolling": difference.rolling,
    }


def _setting(setting: SettingChange, hidden: frozenset[str]) -> wire.SettingDifference:
    return {
        "key": setting.key,
        "old": _shown(setting.old, hidden, secret=setting.secret),
        "new": _shown(setting.new, hidden, secret=setting.secret),
        "live": setting.live,
    }


def _shown(value: Any, hidden: frozenset[str], *, secret: bool = False) -> Any:
    """None: it is not set."""
    if secret:
        return MASKED if value else None
    if is_dataclass(value) and not isinstance(value, type):  # a table that comes, or goes
        value = {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: _shown(item, hidden) for key, item in value.items()}
    if isinstance(value, frozenset):
        value = sorted(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_shown(item, hidden) for item in value]
    return told(mask(str(value), hidden)) if isinstance(value, str) or str(value) in hidden else value


ROUTES = (
    Route(
        method="POST", path="/api/v1/reload", handler=reload, access="change",
        summary="Read the configuration anew and apply what has changed; dry_run: only tell",
        query=ReloadQuery, answers={200: (wire.ReloadDocument, wire.PlanDocument), 202: wire.ReloadDocument},
        problems=(409, 422),
    ),
)  # fmt: skip
