"""`chaperone logs` and `chaperone events`: what is asked, what is printed, and what stops them."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.service_cli.conftest import Chaperone, Serve
from tests.service_cli.documents import Document, pool, problem, status

STATUS = "/api/v1/status"
TWO = status(pool("emails"), pool("sms", desired=1))


def event(seq: int, **changes: Any) -> Document:
    return {
        "seq": seq, "at": f"2025-11-22T10:00:{seq:02}.000Z", "event": "worker.started", "level": "info",
        "message": f"emails-{seq:06x} started (pid 40{seq:02}, slot 0)", "pool": "emails",
        "worker": f"emails-{seq:06x}", "slot": 0, "pid": 4000 + seq, "reason": None, "detail": None, "by": None,
    } | changes  # fmt: skip


def events(*newest_first: Document) -> Document:
    return {"events": list(newest_first), "last": 9, "epoch": "a1b2c3"}


def stream(*parts: str) -> str:
    return "".join(f"{part}\n\n" for part in parts)


# Events


def test_events_are_printed_oldest_first_with_level_pool_and_sentence(chaperone: Chaperone, serve: Serve) -> None:
    trouble = event(2, pool=None, level="warning", message="cannot rotate\nat all")
    server = serve({"/api/v1/events?limit=100": (200, events(trouble, event(1)))})
    ended = chaperone("events", "--url", server.address)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines() == [
        "2025-11-22 10:00:01  info     emails  emails-000001 started (pid 4001, slot 0)",
        "2025-11-22 10:00:02  warning  -       cannot rotate",
        "    at all",
    ]


def test_levels_have_colours_where_they_are_wanted(chaperone: Chaperone, serve: Serve) -> None:
    server = serve({"/api/v1/events?limit=100": (200, events(event(1, level="error")))})
    assert "\x1b[1;31merror" in chaperone("events", "--url", server.address, FORCE_COLOR="1").out
    assert "\x1b" not in chaperone("events", "--url", server.address, FORCE_COLOR="1", NO_COLOR="1").out


@pytest.mark.parametrize(
    ("options", "query"),
    [
        ("-n 5", "limit=5"),
        ("--since 10m", "limit=10000&since=10m"),
        ("--since 2026-11-22T10:00:00+01:00 -n 1", "limit=1&since=2026-11-22T10%3A00%3A00%2B01%3A00"),
        ("--pool sms --kind worker.crashed,pool.fatal", "limit=100&pool=sms&kind=worker.crashed%2Cpool.fatal"),
    ],
)
def test_options_become_the_query(chaperone: Chaperone, serve: Serve, options: str, query: str) -> None:
    document = events(event(1))
    server = serve({f"/api/v1/events?{query}": (200, document)})
    ended = chaperone("events", *options.split(), "--format", "json", "--url", server.address)
    assert (ended.code, json.loads(ended.out)) == (0, document)


def test_no_events_are_said_to_be_none(chaperone: Chaperone, serve: Serve) -> None:
    server = serve({"/api/v1/events?limit=100": (200, events())})
    assert chaperone("events", "--url", server.address).out == "nothing has happened\n"


def test_a_time_that_is_none_is_bad_usage_in_the_words_of_the_server(chaperone: Chaperone, serve: Serve) -> None:
    server = serve({"/api/v1/events?limit=10000&since=soon": problem(400, "cannot use since='soon': it is no time")})
    ended = chaperone("events", "--since", "soon", "--url", server.address)
    assert (ended.code, ended.err) == (2, "chaperone: cannot use since='soon': it is no time\n")


def test_events_of_an_unknown_pool_name_those_that_there_are(chaperone: Chaperone, serve: Serve) -> None:
    answers = {"/api/v1/events?limit=100&pool=fax": problem(404, "no"), "/api/v1/pools": (200, {"pools": TWO["pools"]})}
    ended = chaperone("events", "--pool", "fax", "--url", serve(answers).address)
    assert (ended.code, ended.err) == (1, "chaperone: there is no pool named 'fax'; there are: emails, sms\n")


class InTurn(dict[str, Any]):
    """One answer after the other, whatever is asked."""

    def get(self, path: str, default: object = None) -> Any:
        return 200, self["answers"].pop(0)


def test_a_stream_that_was_cut_is_taken_up_after_the_last_event(chaperone: Chaperone, serve: Serve) -> None:
    first = stream(
        "retry: 2000\nid: a1b2c3-0",
        f"id: a1b2c3-1\nevent: worker.started\ndata: {json.dumps(event(1))}",
        'event: stream.dropped\ndata: {"why": "the client is too slow"}',
    )
    second = stream(
        'id: a1b2c3-6\nevent: stream.gap\ndata: {"why": "5 events are no longer known", "missed": 5}',
        f"id: a1b2c3-7\nevent: worker.started\ndata: {json.dumps(event(7))}",
        'event: stream.ended\ndata: {"why": "enough"}',
    )
    server = serve(InTurn(answers=[first, second]))
    ended = chaperone("events", "-f", "--format", "json", "--url", server.address)
    assert (ended.code, [json.loads(line)["seq"] for line in ended.out.splitlines()]) == (0, [1, 7])
    assert [headers.get("Last-Event-ID") for _, headers in server.requests] == [None, "a1b2c3-1"]
    assert ended.err.splitlines() == [
        "chaperone: the connection is broken: the client is too slow; trying again",
        "chaperone: something is missing here: 5 events are no longer known",
    ]


def test_an_event_that_was_cut_off_before_its_end_is_asked_for_again(chaperone: Chaperone, serve: Serve) -> None:
    whole = f"id: a1b2c3-2\nevent: worker.started\ndata: {json.dumps(event(2))}"
    first = stream(f"id: a1b2c3-1\nevent: worker.started\ndata: {json.dumps(event(1))}") + f"{whole}\n"
    second = stream(whole, 'event: stream.ended\ndata: {"why": "enough"}')
    server = serve(InTurn(answers=[first, second]))
    ended = chaperone("events", "-f", "--format", "json", "--url", server.address)
    assert (ended.code, [json.loads(line)["seq"] for line in ended.out.splitlines()]) == (0, [1, 2])
    assert [headers.get("Last-Event-ID") for _, headers in server.requests] == [None, "a1b2c3-1"]


def test_following_nobody_is_unreachable_at_once(chaperone: Chaperone, tmp_path: Path) -> None:
    ended = chaperone("events", "-f", "--url", f"unix:{tmp_path}/nobody.sock")
    assert (ended.code, ended.out) == (3, "")
    assert ended.err.startswith("chaperone: cannot reach a supervisor: ")


# Logs


def test_a_pool_of_several_has_the_workers_in_front(chaperone: Chaperone, serve: Serve) -> None:
    document = {"lines": [{"worker": "emails-00000a", "line": "one\ttwo"}, {"worker": "emails-00000d", "line": "x"}]}
    server = serve({STATUS: (200, TWO), "/api/v1/pools/emails/logs?lines=100": (200, document)})
    ended = chaperone("logs", "emails", "--url", server.address)
    assert (ended.code, ended.out) == (0, "emails-00000a | one\ttwo\nemails-00000d | x\n")
    coloured = chaperone("logs", "emails", "--url", server.address, FORCE_COLOR="1").out
    fronts = [line.partition(" | ")[0] for line in coloured.splitlines()]
    assert len({front[:5] for front in fronts}) == 2
    assert chaperone("logs", "emails", "--format", "json", "--url", server.address).out == (
        json.dumps(document, indent=2) + "\n"
    )


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("sms", "pools/sms/logs"),
        ("emails:1", "pools/emails/workers/1/logs"),
        ("emails-00000a", "pools/emails/workers/emails-00000a/logs"),
    ],
)
def test_where_only_one_writes_there_is_nothing_in_front(
    chaperone: Chaperone, serve: Serve, target: str, path: str
) -> None:
    lines = [{"worker": "sms-00000a", "line": "hi"}] if target == "sms" else ["hi"]
    server = serve({STATUS: (200, TWO), f"/api/v1/{path}?lines=7": (200, {"lines": lines})})
    ended = chaperone("logs", target, "-n", "7", "--url", server.address)
    assert (ended.code, ended.out) == (0, "hi\n")


def test_all_is_every_pool_unless_a_pool_is_called_so(chaperone: Chaperone, serve: Serve) -> None:
    line = {"worker": "sms-00000a", "line": "hi"}
    server = serve({STATUS: (200, TWO), "/api/v1/logs?lines=100": (200, {"lines": [line]})})
    assert chaperone("logs", "all", "--url", server.address).out == "sms-00000a | hi\n"
    named = status(pool("all", desired=1))
    server = serve({STATUS: (200, named), "/api/v1/pools/all/logs?lines=100": (200, {"lines": [line]})})
    assert chaperone("logs", "all", "--url", server.address).out == "hi\n"


@pytest.mark.parametrize("target", ["fax", "fax:0", "fax-00000a", "emails:", ":", ""])
def test_an_unknown_target_is_answered_with_what_there_is(chaperone: Chaperone, serve: Serve, target: str) -> None:
    ended = chaperone("logs", target, "--url", serve({STATUS: (200, TWO)}).address)
    assert ended.code == 1
    assert ended.err == (f"chaperone: there is no pool or worker named {target!r}; there are the pools: emails, sms\n")


def test_an_unknown_worker_of_a_pool_is_answered_by_the_server(chaperone: Chaperone, serve: Serve) -> None:
    path = "/api/v1/pools/emails/workers/emails-ffffff/logs?lines=100"
    server = serve({STATUS: (200, TWO), path: problem(404, "there is no worker 'emails-ffffff' in pool 'emails'")})
    ended = chaperone("logs", "emails-ffffff", "--url", server.address)
    assert (ended.code, ended.err) == (1, "chaperone: there is no worker 'emails-ffffff' in pool 'emails'\n")


def test_following_a_worker_ends_with_it(chaperone: Chaperone, serve: Serve) -> None:
    told = stream(
        "id: a1b2c3",
        'data: {"lines": [{"worker": "emails-00000a", "line": "one"}, {"worker": null, "line": "… 3 lines lost"}]}',
        ": heartbeat",
        'event: stream.ended\ndata: {"why": "emails-00000a has ended"}',
    )
    path = "/api/v1/pools/emails/workers/emails-00000a/logs?lines=100"
    server = serve({STATUS: (200, TWO), path: (200, told)})
    ended = chaperone("logs", "emails-00000a", "-f", "--url", server.address)
    assert (ended.code, ended.out, ended.err) == (0, "one\n… 3 lines lost\n", "")
    assert server.requests[-1][1]["Accept"] == "text/event-stream"
