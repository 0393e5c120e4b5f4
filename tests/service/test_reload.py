"""POST /reload where there is nothing to reload, and the plan as a document."""

import os
from dataclasses import replace
from pathlib import Path

from chaperone_async.core.plan import make_plan
from chaperone_async.core.spec import BackendUse, Launch, PoolSpec, StopPolicy
from chaperone_async.service.http.answers import json_response
from chaperone_async.service.http.reload import plan_document
from chaperone_async.service.reload import ReloadPlan
from chaperone_async.service.settings import SettingChange
from chaperone_async.system.config.load import Config, load
from tests.service.canned import Canned, served, spec, up


def planned(config: Config, old: PoolSpec, new: PoolSpec, *settings: SettingChange) -> ReloadPlan:
    before = {old.name: old}
    return ReloadPlan(
        replace(config, pools=(new,)), make_plan(before, {new.name: new}), settings, (), before,
        frozenset({"s3cret"}), lambda: None,
    )  # fmt: skip


async def test_without_a_file_a_reload_is_refused(tmp_path: Path) -> None:
    async with served(Canned(up(spec())).face(), tmp_path) as where, where.unix_session() as client:
        answer = await client.post("/api/v1/reload")
        assert answer.status == 409
        assert "has no configuration file" in (await answer.json())["detail"]


def test_a_plan_shows_values_as_one_writes_them_and_no_secret(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("[pools.emails]\ncommand = 'run --dsn=s3cret'\n")
    config = load(tmp_path / "c.toml", {})
    (new,) = config.pools
    env = (("API_TOKEN", "new"), ("MODE", "b"), ("spring.datasource.password", "new"))
    new = replace(new, stop=StopPolicy(timeout=90), launch=Launch(env=env))
    old = replace(new, command=("run",), stop=StopPolicy(timeout=30), launch=Launch(env=(("API_TOKEN", "old"),)))
    settings = (SettingChange("http.token", None, "new", live=True, secret=True),)

    document = plan_document(planned(config, old, new, *settings))

    assert document["pools"][0]["differences"] == [
        {"key": "command", "old": ["run"], "new": ["run", "--dsn=***"], "rolling": True},
        {"key": "env.API_TOKEN", "old": "***", "new": "***", "rolling": True},
        {"key": "env.MODE", "old": None, "new": "b", "rolling": True},
        {"key": "env.spring.datasource.password", "old": None, "new": "***", "rolling": True},
        {"key": "stop.timeout", "old": "30s", "new": "1m30s", "rolling": False},
    ]
    assert document["settings"] == [{"key": "http.token", "old": None, "new": "***", "live": True}]


def test_what_a_backend_can_do_is_shown_in_an_order_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("[pools.emails]\ncommand = 'run'\n")
    config = load(tmp_path / "c.toml", {})
    old = replace(config.pools[0], backend=BackendUse(name="fake"))
    new = replace(old, backend=BackendUse(name="fake", honours=frozenset({"tries", "sleep", "timeout"})))

    document = plan_document(planned(config, old, new))

    json_response(document)
    (difference,) = document["pools"][0]["differences"]
    assert difference == {"key": "backend.honours", "old": [], "new": ["sleep", "timeout", "tries"], "rolling": True}


def test_values_that_are_not_utf_8_are_shown_escaped(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("[pools.emails]\ncommand = 'run ${PLACE}'\nenv.A = '${PLACE}'\n")
    config = load(tmp_path / "c.toml", {"PLACE": os.fsdecode(b"caf\xe9")})
    old = replace(config.pools[0], command=("run",), launch=Launch())
    plan = replace(planned(config, old, config.pools[0]), warnings=("caf\udce9 is nowhere",))

    document = plan_document(plan)

    json_response(document)
    assert document["warnings"] == [r"caf\udce9 is nowhere"]
    assert {each["key"]: each["new"] for each in document["pools"][0]["differences"]} == {
        "command": ["run", r"caf\udce9"],
        "env.A": r"caf\udce9",
    }
