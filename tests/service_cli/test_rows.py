"""What people read, of which documents; no terminal."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from chaperone_async.service.cli import rows
from chaperone_async.service.cli.table import Cell, Column, Table, in_colour, in_no_colour, is_coloured, plain_lines
from tests.service_cli.documents import NOT_KNOWN, backlog, crash, pool, status, worker

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


class Screen:
    def __init__(self, *, terminal: bool) -> None:
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


def texts(table: Table) -> list[dict[str, str]]:
    titles = [column.title for column in table.columns]
    return [dict(zip(titles, (cell.text for cell in row), strict=True)) for row in table.rows]


def test_a_worker_is_one_line_of_its_figures() -> None:
    (line,) = texts(rows.workers_table(pool("emails", worker(3)), NOW))
    assert line == {
        "ID": "emails-000003",
        "PID": "4003",
        "Queue": "emails",
        "Status": "running",
        "Started At": "10:00:00",
        "Jobs": "1247",
        "Memory (MB)": "128.4",
        "CPU (%)": "12.0",
        "Activity": "idle",
    }


def test_what_a_worker_does_is_shown_where_some_worker_tells() -> None:
    busy = worker(0, activity="busy", current_job="1a2b", current_job_name="send", current_job_age=12.4, jobs_running=1)
    many = worker(1, activity="busy", current_job="3c4d", jobs_running=4)
    lines = texts(rows.workers_table(pool("emails", busy, many, worker(2, activity="unknown")), NOW))
    assert [line["Activity"] for line in lines] == ["busy", "busy", "-"]
    assert [line["Job"] for line in lines] == ["send 1a2b, 12s", "3c4d, and 3 more", ""]
    (silent,) = texts(rows.workers_table(pool("emails", worker(0, activity="unknown")), NOW))
    assert not {"Activity", "Job"} & silent.keys()


def test_the_problem_column_is_there_when_some_worker_has_one() -> None:
    ill = worker(1, status="unhealthy", problem="http: 500 (3 in a row)")
    lines = texts(rows.workers_table(pool("emails", worker(0), ill), NOW))
    assert [line["Problem"] for line in lines] == ["", "http: 500 (3 in a row)"]


def test_a_slot_without_a_process_has_no_figures() -> None:
    empty = worker(
        0, id="emails-1a2b3c", pid=None, status="backoff", started_at=None, activity="unknown", jobs_processed=0
    )
    (line,) = texts(rows.workers_table(pool("emails", empty), NOW))
    assert [line[title] for title in ("PID", "Started At", "Jobs", "Memory (MB)", "CPU (%)")] == ["-"] * 5


def test_a_worker_that_tells_nothing_has_no_count_of_jobs() -> None:
    silent = worker(0, activity="unknown", jobs_processed=0)
    told = worker(1, activity="idle", jobs_processed=0)
    assert [line["Jobs"] for line in texts(rows.workers_table(pool("emails", silent, told), NOW))] == ["-", "0"]


def test_a_pool_is_one_line_of_status() -> None:
    ill = pool("emails", state="fatal", ready=False, ready_workers=0, reason="all slots are in a crash loop")
    (line,) = texts(rows.status_table(status(ill), NOW))
    assert line == {
        "Pool": "emails",
        "State": "fatal",
        "Ready": "0/2",
        "Min": "1",
        "Restarts": "3",
        "Reason": "all slots are in a crash loop",
    }


def test_scale_and_backlog_are_shown_where_some_pool_has_them() -> None:
    bounds = {"min": 1, "max": 10, "strategy": "backlog", "target": 10.0}
    scaled = pool("emails", autoscale=bounds, desired=4, leaving=1, backlog=backlog())
    blind = pool("sms", backlog=NOT_KNOWN, state="degraded", reason="the queue cannot be read: cannot reach redis")
    lines = texts(rows.status_table(status(scaled, blind, pool("plain")), NOW))
    assert [line["Scale"] for line in lines] == ["4 of 1-10, 1 leaving", "-", "-"]
    assert [line["Backlog"] for line in lines] == ["42", "?", "-"]
    assert [line["State"] for line in lines] == ["running", "degraded", "running"]
    assert lines[1]["Reason"] == "the queue cannot be read: cannot reach redis"


def test_the_supervisor_has_a_line_of_its_own() -> None:
    assert rows.supervisor_line(status()).text == "orders: running, chaperone 1.2.3, pid 4321, up 3m 12s"
    draining = rows.supervisor_line(status(state="draining", drain_ends_in=4.25)).text
    assert draining.startswith("orders: draining")
    assert draining.endswith("ends within 4.2s")


def test_a_death_is_one_line_of_its_cause() -> None:
    (line,) = texts(rows.crashes_table({"crashes": [crash(1)]}, NOW))
    assert line == {
        "When": "10:00:00",
        "Worker": "emails-000001",
        "Slot": "0",
        "Reason": "signal",
        "Exit": "SIGSEGV",
        "Uptime": "12s",
        "Peak (MB)": "99.5",
        "Detail": "killed by SIGSEGV",
    }


@pytest.mark.parametrize(
    ("code", "signal", "text"),
    [(0, None, "0"), (3, None, "3"), (None, 9, "SIGKILL"), (None, 40, "signal 40"), (None, None, "-")],
)
def test_an_exit_is_a_code_or_the_name_of_a_signal(code: int | None, signal: int | None, text: str) -> None:
    (line,) = texts(rows.crashes_table({"crashes": [crash(exit_code=code, exit_signal=signal)]}, NOW))
    assert line["Exit"] == text


def test_the_last_output_stands_under_the_name_of_its_worker() -> None:
    lines = [cell.text for cell in rows.output_lines(crash(1, output=["one", "\ttwo"]), NOW)]
    assert lines == ["last output of emails-000001, 10:00:00:", "  one", "          two"]
    assert [cell.text.split(": ")[-1] for cell in rows.output_lines(crash(1, output=[]), NOW)] == ["none"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0s"), (9.94, "9.9s"), (12.9, "12s"), (192.4, "3m 12s"), (7500, "2h 5m"), (90_000 * 4, "4d 4h")],
)
def test_durations_are_told_in_their_two_largest_units(seconds: float, text: str) -> None:
    assert rows.duration(seconds) == text


def test_times_are_local_and_have_a_date_unless_it_is_today() -> None:
    east = NOW.astimezone(timezone(timedelta(hours=2)))
    assert rows.clock("2026-11-22T10:00:00.000Z", east) == "12:00:00"
    assert rows.clock("2026-11-21T22:30:00Z", east) == "00:30:00"
    assert rows.clock("2026-11-21T10:00:00.5Z", east) == "2026-11-21 12:00:00"


TABLE = Table(
    (Column("Name"), Column("Jobs", right=True)), [(Cell("a", "good"), Cell("10")), (Cell("long\nname"), Cell("1"))]
)


def test_plain_tables_are_aligned_and_have_one_line_per_row() -> None:
    assert plain_lines(TABLE, in_no_colour) == ["Name       Jobs", "a            10", "long name     1"]


def test_colour_does_not_change_the_alignment() -> None:
    plain, coloured = plain_lines(TABLE, in_no_colour), plain_lines(TABLE, in_colour)
    assert coloured[1] == "\x1b[32ma        \x1b[0m    10"
    assert len(coloured) == len(plain)


@pytest.mark.parametrize(
    ("terminal", "env", "coloured"),
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"NO_COLOR": ""}, True),
        (False, {"FORCE_COLOR": "1"}, True),
        (True, {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        (True, {"TERM": "dumb"}, False),
    ],
)
def test_colour_is_for_terminals_unless_the_environment_says_otherwise(
    terminal: bool, env: dict[str, str], coloured: bool
) -> None:
    assert is_coloured(Screen(terminal=terminal), env) is coloured  # type: ignore[arg-type]  # all it needs of a stream
