"""What a reload does, case by case: to the pools whose configuration has changed, and to nobody else."""

import json
import os
import signal
from pathlib import Path

import pytest

from tests.e2e.reloading import (
    edit,
    events,
    kinds,
    least_ready,
    notes,
    one,
    pool,
    post,
    reload,
    reloading,
    settled,
    start,
    worker,
)
from tests.e2e.service import Document, Launch, Script, Service, alive, command

SLEEPER = "import signal; signal.pause()"


def sleeper(script: Script) -> str:
    return command(script("sleeper", SLEEPER))


# What is changed


def test_growing_and_shrinking_a_pool_restarts_nobody(launch: Launch, script: Script) -> None:
    service = start(launch, one(script, workers=2))
    before = settled(service, "emails", 2)

    edit(service, "workers = 2", "workers = 4")
    grown = reload(service)
    more = settled(service, "emails", 4)
    service.until(lambda: len(notes(service, "started")) == 4)
    edit(service, "workers = 4", "workers = 1")
    reload(service)
    fewer = settled(service, "emails", 1)

    assert (grown["plan"]["summary"], grown["state"]) == ("change emails (workers); 0 pools unchanged", "done")
    assert (more[:2], fewer) == (before, before[:1])
    assert sorted(notes(service, "started")) == sorted(more)


@pytest.mark.parametrize(
    ("settings", "least", "most"),
    [
        ({"workers": 3}, 3, 4),
        ({"workers": 3, "max_surge": 3}, 3, 6),
        ({"workers": 3, "max_surge": 0, "min_ready": 2}, 2, 3),
        ({"workers": 2, "max_surge": 0, "min_ready": 0}, 1, 2),
    ],
)
def test_a_new_command_rolls_its_pool_alone_and_never_under_what_must_be_ready(
    launch: Launch, script: Script, settings: dict[str, int], least: int, most: int
) -> None:
    service = start(launch, one(script, **settings), pool("images", sleeper(script)))
    before, others = settled(service, "emails", settings["workers"]), settled(service, "images", 1)
    seen: list[tuple[int, int]] = []

    edit(service, '"1", "0"', '"2", "0"')
    with reloading(service) as under_way:
        while under_way.is_alive():
            shown = service.pool("emails")
            seen.append((shown["ready_workers"], shown["running"]))

    after = settled(service, "emails", settings["workers"])
    assert set(before).isdisjoint(after)
    assert settled(service, "images", 1) == others
    assert min(ready for ready, _ in seen) >= least
    assert max(running for _, running in seen) <= most
    assert least_ready(service, "emails") >= least
    assert set(before) <= set(notes(service, "finished"))


def test_an_old_worker_finishes_its_job_before_it_goes(launch: Launch, script: Script) -> None:
    service = start(launch, pool("emails", worker(script, finish=3)))
    (old,) = settled(service, "emails", 1)

    edit(service, '"1", "3"', '"2", "0"')
    reload(service)

    assert notes(service, "finished")[0] == old
    assert [record["reason"] for record in service.crashes("emails") if record["pid"] == old] == ["reload"]
    assert kinds(service, "emails").count("worker.killed") == 0


def test_several_keys_at_once_are_one_change(launch: Launch, script: Script) -> None:
    service = start(launch, one(script, workers=2))
    before = settled(service, "emails", 2)

    edit(service, "workers = 2", "workers = 3\nhealth.interval = 2")
    edit(service, '"1", "0"', '"2", "0"')
    done = reload(service)

    (planned,) = done["plan"]["pools"]
    assert [row["key"] for row in planned["differences"]] == ["command", "workers", "health.interval"]
    assert [row["rolling"] for row in planned["differences"]] == [True, False, False]
    assert set(before).isdisjoint(settled(service, "emails", 3))
    assert notes(service, "asked")[:2] == before
    assert kinds(service, "emails").count("pool.changed") == 1


def test_whatever_a_worker_is_given_at_its_start_takes_a_new_one(
    launch: Launch, script: Script, tmp_path: Path
) -> None:
    (tmp_path / "env").write_text("A=1\n")
    (tmp_path / "elsewhere").mkdir()
    run, spare = sleeper(script), pool("spare", sleeper(script))
    names = ["environment", "file", "place", "mask", "manners", "limits"]
    service = start(launch, *(pool(name, run, umask="022") for name in names), spare, head="# head")
    edit(service, "[pools.environment]", '[pools.environment]\nenv = { A = "1" }')
    edit(service, "[pools.file]", f'[pools.file]\nenv_file = "{tmp_path / "env"}"')
    reload(service)
    before = {name: settled(service, name, 1) for name in [*names, "spare"]}

    (tmp_path / "env").write_text("A=2\n")
    edit(service, 'A = "1"', 'A = "2"')
    edit(service, "[pools.place]", f'[pools.place]\ndirectory = "{tmp_path / "elsewhere"}"')
    mask, manners = "[pools.mask]", "[pools.manners]"
    edit(service, mask, f"{mask}\nnice = 3")
    edit(service, manners, f'{manners}\nuser = "{os.getuid()}"')
    edit(service, "[pools.limits]", "[pools.limits]\nrlimits = { nofile = 100 }")
    done = reload(service)

    keys = {row["pool"]: [each["key"] for each in row["differences"]] for row in done["plan"]["pools"]}
    assert keys == {
        "environment": ["env.A"], "file": ["env_file (its contents)"], "place": ["directory"], "mask": ["nice"],
        "manners": ["user"], "limits": ["rlimits.nofile"],
    }  # fmt: skip
    after = {name: settled(service, name, 1) for name in [*names, "spare"]}
    assert [name for name in after if after[name] == before[name]] == ["spare"]
    for name in ("environment", "file"):
        assert b"A=2" in Path(f"/proc/{after[name][0]}/environ").read_bytes().split(b"\0")
    assert Path(f"/proc/{after['place'][0]}/cwd").readlink() == tmp_path / "elsewhere"
    assert os.getpriority(os.PRIO_PROCESS, after["mask"][0]) == 3


# What cannot be used


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("workers = 2", "workers = = 2", ["cannot read the configuration"]),
        ("workers = 2", "wrokers = 2\nmin_ready = 'x'", ["did you mean 'workers'?", "pools.emails.min_ready"]),
        ("workers = 2", "workers = 2\nmin_ready = 5", ["pools.emails.min_ready"]),
        ("workers = 2", 'workers = 2\nhealth.python = "nowhere:check"', ["nowhere"]),
    ],
)
def test_a_file_that_cannot_be_used_changes_nothing_and_all_of_it_is_told(
    launch: Launch, script: Script, old: str, new: str, told: list[str]
) -> None:
    service = start(launch, one(script, workers=2))
    before, events_before = settled(service, "emails", 2), kinds(service, "emails")

    edit(service, old, new)
    answer = post(service, "/reload")
    by_command = service.cli("reload", "--url", f"unix:{service.socket}")
    service.send(signal.SIGHUP)
    service.until(lambda: service.lines("reload failed: nothing was changed"))

    assert answer.status == 422
    assert len(answer.json["errors"]) == len(told)
    assert by_command.code == 2
    assert by_command.err.count("\n") == len(told)
    for word in told:
        assert word in answer.body
        assert word in by_command.err
    assert service.pids("emails") == before
    assert kinds(service, "emails") == events_before


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ('command = ["false"]\nrestart.start_seconds = 10', "exit code 1"),  # never taken for ready, seen late or not
        ('command = ["no-such-program"]', "cannot run 'no-such-program'"),
        (
            'command = ["sleep", "99"]\nhealth.ready = "notify"\nhealth.start_timeout = 0.3',
            "the last: not ready ",
        ),
    ],
)
def test_new_workers_that_do_not_come_up_are_taken_back_and_the_old_never_touched(
    launch: Launch, script: Script, bad: str, why: str
) -> None:
    good = f"command = {worker(script)}"
    service = start(launch, one(script, workers=2), pool("images", sleeper(script)))
    before = settled(service, "emails", 2)

    edit(service, good, bad)
    outcome = service.cli("reload")

    assert outcome.code == 1
    assert "emails: taken back: " in outcome.err
    assert why in outcome.err
    assert settled(service, "emails", 2) == before
    assert notes(service, "asked") == []
    assert "pool.rolled_back" in kinds(service, "emails")
    assert service.get("/readyz").status == 200


# Pools that come and go


def test_pools_are_added_removed_and_renamed_and_a_name_may_come_again(launch: Launch, script: Script) -> None:
    service = start(launch, one(script), pool("images", sleeper(script)))
    first = settled(service, "emails", 1)

    text = service.config.read_text()
    service.config.write_text(text.replace("[pools.images]", "[pools.pictures]"))
    renamed = reload(service)
    names = [row["name"] for row in service.status()["pools"]]
    service.config.write_text(text)
    reload(service)

    kinds_of = {row["pool"]: row["kind"] for row in renamed["plan"]["pools"]}
    assert kinds_of == {"pictures": "add", "images": "remove"}
    assert names == ["emails", "pictures"]
    assert [row["name"] for row in service.status()["pools"]] == ["emails", "images"]
    assert settled(service, "emails", 1) == first
    assert service.get("/api/v1/pools/pictures").status == 404


def test_a_removed_pools_worker_finishes_its_job(launch: Launch, script: Script) -> None:
    service = start(launch, pool("emails", worker(script, finish=0.5)), pool("images", sleeper(script)))
    (pid,) = settled(service, "emails", 1)

    text = service.config.read_text()
    service.config.write_text(text[: text.index("[pools.emails]")] + text[text.index("[pools.images]") :])
    done = reload(service)

    assert done["pools"] == [{"pool": "emails", "state": "done", "detail": "removed"}]
    assert notes(service, "finished") == [pid]
    assert not alive(pid)


def test_an_added_pool_that_does_not_come_up_is_a_failure_and_the_others_go_on(launch: Launch, script: Script) -> None:
    service = start(launch, one(script))
    before = settled(service, "emails", 1)

    with service.config.open("a") as file:
        file.write(pool("broken", '["false"]', restart__start_seconds=10))
    outcome = service.cli("reload")

    assert outcome.code == 1
    assert "broken: its workers are in a crash loop: exit code 1" in outcome.err
    assert settled(service, "emails", 1) == before


def test_no_reload_ends_a_pool_that_was_added_by_request(launch: Launch, script: Script) -> None:
    service = start(launch, one(script))
    added = post(service, "/pools?wait=20", name="extra", command=json.loads(sleeper(script)))
    before = settled(service, "extra", 1)

    edit(service, '"1", "0"', '"2", "0"')
    done = reload(service)

    assert added.status in {200, 201}, added.body
    assert [row["pool"] for row in done["plan"]["pools"]] == ["emails"]
    assert settled(service, "extra", 1) == before


# What was done by hand


def test_what_is_held_by_hand_stays_so_and_still_says_by_whom_since_when(launch: Launch, script: Script) -> None:
    run = worker(script)
    service = start(launch, pool("stopped", run), pool("paused", run), pool("slot", run, workers=2))
    settled(service, "slot", 2)
    for path in ("stopped/stop", "paused/pause", "slot/workers/1/stop"):
        assert post(service, f"/pools/{path}?wait=20").status == 200
    held = ("held_by", "held_since", "state", "running")
    before = {name: [service.pool(name)[key] for key in held] for name in ("stopped", "paused")}

    edit(service, '"1", "0"', '"2", "0"')
    done = reload(service)
    shown = {name: [service.pool(name)[key] for key in held] for name in ("stopped", "paused")}
    slot = service.workers("slot")

    assert done["state"] == "done"
    assert shown == before
    assert shown["stopped"][2:] == ["stopped", 0]
    assert [row["status"] for row in slot] == ["running", "stopped"]
    assert slot[1]["held_by"] == before["stopped"][0]
    post(service, "/pools/paused/resume?wait=20")
    for name in ("stopped", "paused", "slot"):
        assert post(service, f"/pools/{name}/start?wait=20").json["state"] == "done"
    service.until(lambda: all(runs(pid, "2") for name in ("stopped", "paused", "slot") for pid in service.pids(name)))


def operations(service: Service) -> list[Document]:
    rows: list[Document] = service.get("/api/v1/operations").json["operations"]
    return rows


def runs(pid: int, version: str) -> bool:
    return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[-3] == version.encode()


def test_a_number_set_by_hand_stays_unless_the_file_changes_it(launch: Launch, script: Script) -> None:
    service = start(launch, one(script, workers=1))
    assert service.cli("scale", "emails", "3", "--wait").code == 0

    edit(service, '"1", "0"', '"2", "0"')
    reload(service)
    kept = len(settled(service, "emails", 3))
    edit(service, "workers = 1", "workers = 2")
    reload(service)

    assert kept == 3
    assert len(settled(service, "emails", 2)) == 2


# Several at once


def test_a_second_reload_is_refused_while_its_pool_still_changes_and_may_be_forced(
    launch: Launch, script: Script
) -> None:
    service = start(launch, pool("emails", worker(script, finish=30)), pool("images", sleeper(script)))
    (old,) = settled(service, "emails", 1)
    edit(service, '"1", "30"', '"2", "0"')
    assert post(service, "/reload").status == 202

    edit(service, '"2", "0"', '"3", "0"')
    refused = post(service, "/reload")
    by_command = service.cli("reload")
    forced = service.cli("reload", "--force", "--no-wait")
    os.kill(old, signal.SIGKILL)
    service.until(
        lambda: {row["state"] for row in operations(service)} == {"failed", "done"}
    )  # the first was overtaken

    assert (refused.status, by_command.code, forced.code) == (409, 4, 0)
    assert "emails still being changed by an earlier reload" in refused.json["detail"]
    assert "emails still being changed by an earlier reload" in by_command.err
    assert [runs(pid, "3") for pid in settled(service, "emails", 1)] == [True]


def test_a_reload_by_signal_waits_its_turn(launch: Launch, script: Script) -> None:
    service = start(launch, pool("emails", worker(script, finish=30)))
    (old,) = settled(service, "emails", 1)
    edit(service, '"1", "30"', '"2", "0"')
    assert post(service, "/reload").status == 202

    edit(service, '"2", "0"', '"3", "0"')
    service.send(signal.SIGHUP)
    service.until(lambda: service.lines("asked by SIGHUP: waiting until emails are through"))
    os.kill(old, signal.SIGKILL)
    service.until(lambda: service.lines("reloaded as SIGHUP asked"))

    assert [runs(pid, "3") for pid in settled(service, "emails", 1)] == [True]


def test_one_slow_pool_holds_up_no_other(launch: Launch, script: Script) -> None:
    service = start(launch, pool("slow", worker(script, finish=30)), one(script))
    (stubborn,) = settled(service, "slow", 1)
    settled(service, "emails", 1)
    edit(service, '"1", "30"', '"2", "0"')
    edit(service, '"1", "0"', '"2", "0"')
    begun = post(service, "/reload").json

    service.until(lambda: notes(service, "asked", "slow"))
    service.until(lambda: "pool.reloaded" in kinds(service, "emails"))
    edit(service, "[pools.emails]", "[pools.emails]\nworkers = 2")
    again = reload(service)

    assert again["state"] == "done"
    assert len(settled(service, "emails", 2)) == 2
    assert alive(stubborn)
    assert service.get(f"/api/v1/operations/{begun['id']}").json["state"] == "running"
    os.kill(stubborn, signal.SIGKILL)


def test_nothing_is_reloaded_while_the_supervisor_ends(launch: Launch, script: Script) -> None:
    service = start(launch, pool("emails", worker(script, finish=30)))
    (old,) = settled(service, "emails", 1)
    service.send(signal.SIGTERM)
    service.until(lambda: notes(service, "asked"))

    edit(service, '"1", "30"', '"2", "0"')
    answer = post(service, "/reload")

    assert answer.status == 409
    assert "shutting down" in answer.json["detail"]
    os.kill(old, signal.SIGKILL)
    assert service.wait() == 0


# Which file, which pools, and what is shown of them


def test_up_with_names_reloads_these_pools_alone(launch: Launch, script: Script) -> None:
    service = launch(one(script) + pool("images", sleeper(script)), probe=None)
    service.stop()
    service.run([*service.words, "emails"], -3).until_up()

    edit(service, "[pools.images]", "[pools.images]\nworkers = 3")
    edit(service, '"1", "0"', '"2", "0"')
    done = reload(service)
    edit(service, "[pools.emails]", "[pools.mails]")
    refused = post(service, "/reload")

    assert [row["pool"] for row in done["plan"]["pools"]] == ["emails"]
    assert [row["name"] for row in service.status()["pools"]] == ["emails"]
    assert refused.status == 422
    assert "did you mean 'mails'?" in refused.json["detail"]
    assert len(settled(service, "emails", 1)) == 1


def test_a_configuration_that_was_found_stays_the_one_that_is_read(launch: Launch, script: Script) -> None:
    service = launch(one(script), probe=None)
    service.stop()
    found = service.directory / "pyproject.toml"
    found.write_text("tool.chaperone.include = ['pools.toml']\n")
    service.config.rename(service.directory / "pools.toml")
    service.config = service.directory / "pools.toml"
    service.run(service.words[:-2], -3).until_up()

    (service.directory / "chaperone.toml").write_text(pool("nearer", sleeper(script)))
    edit(service, '"1", "0"', '"2", "0"')
    done = reload(service)

    assert [row["pool"] for row in done["plan"]["pools"]] == ["emails"]


def test_no_secret_is_shown_in_plan_events_or_log(launch: Launch, script: Script) -> None:
    variable = '[pools.emails.env]\nDB_PASSWORD = "hunter-one"\n'
    service = start(launch, one(script), variable, head='http.token = "old-token"')
    settled(service, "emails", 1)

    edit(service, "hunter-one", "hunter-two")
    edit(service, "old-token", "new-token")
    dry = service.cli("reload", "--dry-run")
    done = reload(service)
    everything = "".join([dry.out, json.dumps(done), service.log(), json.dumps(events(service, "emails"))])

    assert dry.code == 0
    assert 'env.DB_PASSWORD: "***" -> "***"' in dry.out
    assert 'http.token: "***" -> "***"' in dry.out
    assert not [word for word in ("hunter", "old-token", "new-token") if word in everything]


def test_a_dry_run_says_what_would_change_and_changes_nothing(launch: Launch, script: Script) -> None:
    service = start(launch, one(script))
    before = settled(service, "emails", 1)
    same = service.cli("reload", "--dry-run")

    edit(service, "[pools.emails]", "[pools.emails]\nworkers = 2")
    told = service.cli("reload", "--dry-run")

    assert (same.code, same.out) == (0, "nothing would change: 1 pool unchanged\n")
    assert (told.code, told.out) == (0, "emails: change\n  workers: 1 -> 2\n")
    assert service.pids("emails") == before
