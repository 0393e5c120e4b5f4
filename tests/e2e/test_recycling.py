"""Workers that have served long enough are replaced one at a time, and never is there one ready less."""

import re

from tests.e2e.service import ROOT, Launch, Script, command

SLEEPER = "import signal; signal.pause()"
JOBBER = f"""
    import signal, sys, time
    sys.path.insert(0, {str(ROOT)!r})
    from chaperone_async.worker import notify
    number = 0
    while not notify.should_stop():
        number += 1
        with notify.job(number):
            time.sleep(0.05)
"""
WORKERS = 3


def ready_and_live(log: str, pool: str) -> list[tuple[int, int]]:
    """How many workers were ready and how many lived, after each line of the log that tells of it."""
    ready: set[str] = set()
    live: set[str] = set()
    counts = []
    for line in log.splitlines():
        if not (told := re.search(rf" {pool}: ({pool}-[0-9a-f]+) (started|is ready|is stopping|ended|died)", line)):
            continue
        worker, what = told.groups()
        if what == "started":
            live.add(worker)
        elif what == "is ready":
            ready.add(worker)
        else:
            ready.discard(worker)
            if what != "is stopping":
                live.discard(worker)
        counts.append((len(ready), len(live)))
    return counts


def test_old_workers_are_replaced_one_at_a_time_with_the_replacement_ready_first(
    launch: Launch, script: Script
) -> None:
    service = launch(
        f"""
        [pools.old]
        command = {command(script("sleeper", SLEEPER))}
        workers = {WORKERS}
        restart.start_seconds = 0.1
        recycle.max_time = 1
        """,
        head='logs.level = "debug"',
    )
    service.until(lambda: service.pool("old")["ready_workers"] == WORKERS)
    before = {row["id"] for row in service.workers("old")}
    service.until(lambda: len(before & {death["worker_id"] for death in service.crashes("old")}) == WORKERS)
    deaths = [death for death in service.crashes("old") if death["worker_id"] in before]
    log = service.log()

    counts = ready_and_live(log, "old")
    full = counts.index((WORKERS, WORKERS))
    assert min(ready for ready, _ in counts[full:]) == WORKERS
    assert max(live for _, live in counts) == WORKERS + 1
    assert {death["reason"] for death in deaths} == {"max_time"}
    assert {death["exit_signal"] for death in deaths} == {15}
    assert service.lines("will be replaced (max_time): served ")


def test_a_worker_that_has_done_its_jobs_is_replaced_between_two_of_them(launch: Launch, script: Script) -> None:
    service = launch(
        f"""
        [pools.busy]
        command = {command(script("jobber", JOBBER))}
        restart.start_seconds = 0.1
        recycle = {{ max_jobs = 5, jitter = 0 }}
        """,
    )
    death = service.until(lambda: service.crashes("busy"))[-1]

    assert (death["reason"], death["exit_code"]) == ("max_jobs", 0)
    assert re.match(r"\d+ jobs of at most 5", death["detail"])
    assert service.pool("busy")["jobs_processed"] >= 5
