"""`simulate`: a trace in, decisions and waiting times out; and what is said of traces that are wrong."""

import json

import pytest

from tests.service_cli.conftest import Chaperone

LOAD = "at,arrivals,service_time\n0,0,\n10,40,1\n20,0,\n60,0,\n"
SMALL = "at,arrivals\n0,1\n"


def test_simulate_prints_each_change_with_its_reason_and_what_came_of_it(chaperone: Chaperone) -> None:
    chaperone.write(LOAD, "load.csv")
    ended = chaperone("simulate", "--trace", "load.csv", "--target", "5")
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert lines[0].split() == ["At", "(s)", "Workers", "Why"]
    assert lines[1].split(maxsplit=4)[:4] == ["10", "1", "->", "2"]
    assert "39 jobs waiting and 1 in work, 5 for each worker, call for 8.00; max_step: by 1 at a time" in lines[1]
    assert lines[-2].startswith("40 jobs waited: mean ")
    assert "worker-seconds, 40 of them at work; at most " in lines[-1]


def test_simulate_as_json_has_every_clamp_and_a_summary(chaperone: Chaperone) -> None:
    chaperone.write(LOAD, "load.csv")
    words = ("--strategy=latency", "--target=2s", "--max=20", "--max-step=20", "--cooldown=0", "--format=json")
    document = json.loads(chaperone("simulate", "--trace", "load.csv", *words).out)
    first = document["decisions"][0]
    assert (first["at"], first["from"], first["wanted"]) == (10, 1, 2)
    assert first["sample"]["backlog"] == 39
    assert first["reason"].startswith("from 1 to 2: 39 jobs waiting and 1 in work")
    summary = document["summary"]
    assert (summary["jobs"], summary["left"], summary["busy_seconds"]) == (40, 0, 40)
    assert 0 < summary["wait_mean"] < summary["wait_p95"] <= summary["wait_max"] < 30


def test_simulate_tells_of_every_look_only_when_asked(chaperone: Chaperone) -> None:
    chaperone.write("at,arrivals\n1700000000,1\n1700000010,0\n1700000020,0\n", "load.csv")
    assert chaperone("simulate", "--trace", "load.csv").out.startswith("nothing was changed\n")
    told = json.loads(chaperone("simulate", "--trace", "load.csv", "-v", "--format", "json").out)
    assert [made["at"] for made in told["decisions"]][:3] == [0, 1, 2]


def test_jobs_come_at_their_moment_or_are_spread_to_the_next(chaperone: Chaperone) -> None:
    chaperone.write("at,arrivals\n0,10\n100,10\n", "load.csv")

    def longest(*words: str) -> float:
        document = json.loads(chaperone("simulate", "--trace=load.csv", "--max=1", "--format=json", *words).out)
        wait: float = document["summary"]["wait_max"]
        return wait

    assert longest() == 9
    assert longest("--spread") == 0
    assert longest("--service-time", "12s") == 128


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "line 1: the columns are nothing; write at,arrivals[,service_time]"),
        ("at,jobs\n0,1\n", "line 1: the columns are at,jobs; write at,arrivals[,service_time]"),
        ("at,arrivals,at\n0,1,2\n", "line 1: the columns are at,arrivals,at; write"),
        ("at,arrivals\n", "there are no rows; write at,arrivals[,service_time] on the first line"),
        ("at,arrivals\n0,1\n5,x\n", "line 3: column arrivals: 'x' is not a count; write a whole number such as 5"),
        ("at,arrivals\n0,-1\n", "line 2: column arrivals: '-1' is not a count"),
        ("at,arrivals\n\n0,1.5\n", "line 3: column arrivals: '1.5' is not a count"),
        ("at,arrivals\nnan,1\n", "line 2: column at: 'nan' is not a time; write seconds such as 12.5"),
        ("at,arrivals\n5,1\n4,1\n", "line 3: column at: 4 is earlier than the line before; put the rows in order"),
        ("at,arrivals\n5\n", "line 2: it has 1 fields; write 2: at,arrivals"),
        ("at,arrivals,service_time\n5,1,1e9\n", "line 2: column service_time: '1e9' is not a time; write seconds"),
        ("at,arrivals\n0,999999999\n", "column arrivals: these are more than 1000000 jobs; cut it shorter"),
        ("at,arrivals\n0,1\n9999999,1\n", "column at: it covers more than 31 days; cut it into shorter ones"),
        ('at,arrivals\n0,"1\n', "it is not CSV in UTF-8"),
    ],
)
def test_a_trace_that_is_wrong_is_refused_with_line_and_column(chaperone: Chaperone, text: str, why: str) -> None:
    chaperone.write(text, "load.csv")
    ended = chaperone("simulate", "--trace", "load.csv")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"chaperone: cannot read load.csv: {why}")


def test_every_wrong_line_is_told_until_there_are_too_many(chaperone: Chaperone) -> None:
    chaperone.write("at,arrivals\n" + "0,x\n" * 30, "load.csv")
    lines = chaperone("simulate", "--trace", "load.csv").err.splitlines()
    assert len(lines) == 11
    assert lines[-1] == "chaperone: and 20 more of this kind"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--trace", "nowhere.csv"), "cannot read nowhere.csv: no such file or directory; name a CSV file with the"),
        (("--trace", "."), "cannot read .: is a directory; name a CSV file with the columns at,arrivals"),
        (("--trace", "small.csv", "--max", "0"), "cannot simulate with --max 0: nobody could ever be started"),
        (("--trace", "small.csv", "--max-step", "0"), "cannot simulate with --max-step 0: nobody could ever be"),
        (("--trace", "small.csv", "--min", "5", "--max", "2"), "cannot simulate with --min 5 over --max 2; write a"),
        (("--trace", "small.csv", "-c", "a.toml"), "cannot simulate a.toml: it may have several pools; name one"),
        (("--trace", "small.csv", "--service-time=24h", "--interval=1ms"), "cannot simulate this: 86400 s of arrivals"),
    ],
)
def test_what_cannot_be_simulated_is_refused_with_a_reason(
    chaperone: Chaperone, words: tuple[str, ...], why: str
) -> None:
    chaperone.write(SMALL, "small.csv")
    ended = chaperone("simulate", *words)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"chaperone: {why}")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--target", "0"), "'0' is not a target; write jobs such as 10"),
        (("--target", "many"), "'many' is not a target"),
        (("--min", "-1"), "'-1' is not a count; write a whole number up to 10000"),
        (("--cooldown", "soon"), "'soon' is not a time; write seconds such as 5"),
        (("--interval", "0"), "'0' is too short; write a time of 1ms or more"),
        (("--tolerance", "1"), "'1' is not a share; write a number from 0 to 0.99"),
    ],
)
def test_an_option_that_is_wrong_is_bad_usage(chaperone: Chaperone, words: tuple[str, ...], why: str) -> None:
    chaperone.write(SMALL, "small.csv")
    ended = chaperone("simulate", "--trace", "small.csv", f"{words[0]}={words[1]}")
    assert ended.code == 2
    assert why in ended.err


SCALED = """
[pools.mail]
command = "w"
workers = { min = 2, max = 4 }
autoscale = { target = 1, cooldown = 0, max_step = 9, source = { redis_list = "redis://localhost/0#mail" } }
[pools.plain]
command = "w"
"""


def test_a_pool_of_the_configuration_is_simulated_as_it_is_scaled(chaperone: Chaperone) -> None:
    trace, config = chaperone.write("at,arrivals,service_time\n0,50,1\n", "load.csv"), chaperone.write(SCALED)
    words = ("simulate", "--trace", str(trace), "--pool", "mail", "-c", str(config), "--format", "json")
    assert json.loads(chaperone(*words).out)["summary"]["workers_most"] == 4
    assert json.loads(chaperone(*words, "--max", "7").out)["summary"]["workers_most"] == 7


def test_the_budget_and_several_jobs_at_a_time_are_part_of_how_a_pool_is_scaled(chaperone: Chaperone) -> None:
    trace, config = chaperone.write("at,arrivals,service_time\n0,50,1\n", "load.csv"), chaperone.write(SCALED)
    words = ("simulate", "--trace", str(trace), "--pool", "mail", "-c", str(config), "--format", "json")
    plain = json.loads(chaperone(*words).out)["summary"]
    chaperone.write(f"budget.max_workers = 3\n{SCALED}")
    assert json.loads(chaperone(*words).out)["summary"]["workers_most"] == 3
    eight = 'backend = "celery"\ncelery = { app = "proj.app", concurrency = 8 }'
    chaperone.write(SCALED.replace('command = "w"', eight, 1))
    assert json.loads(chaperone(*words).out)["summary"]["wait_mean"] < plain["wait_mean"] / 4


@pytest.mark.parametrize(
    ("pool", "why"), [("mial", "there is none; did you mean 'mail'?"), ("plain", "it does not scale itself")]
)
def test_a_pool_that_cannot_be_simulated_is_refused(chaperone: Chaperone, pool: str, why: str) -> None:
    trace, config = chaperone.write("at,arrivals\n0,1\n", "load.csv"), chaperone.write(SCALED)
    ended = chaperone("simulate", "--trace", str(trace), "--pool", pool, "-c", str(config))
    assert ended.code == 2
    assert why in ended.err
