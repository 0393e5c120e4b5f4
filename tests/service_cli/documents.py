"""Documents as the API serves them."""

from typing import Any

Document = dict[str, Any]


def worker(slot: int = 0, **changes: Any) -> Document:
    return {
        "id": f"emails-{slot:06x}",
        "slot": slot,
        "pid": 4000 + slot,
        "queue": "emails",
        "status": "running",
        "activity": "idle",
        "started_at": "2026-11-22T10:00:00.000Z",
        "last_health_check": "2026-11-22T10:15:30.000Z",
        "uptime": 930.2,
        "memory_usage": 128.4,
        "cpu_percent": 12.0,
        "jobs_processed": 1247,
        "jobs_failed": 3,
        "jobs_running": 0,
        "current_job": None,
        "current_job_name": None,
        "current_job_age": None,
        "restarts": 0,
        "problem": None,
        "message": None,
        "held_by": None,
        "held_since": None,
        "held_until": None,
    } | changes


def pool(name: str = "emails", *workers: Document, **changes: Any) -> Document:
    rows = list(workers or (worker(0), worker(1)))
    return {
        "name": name,
        "queue": [name],
        "backend": None,
        "state": "running",
        "degraded": False,
        "ready": True,
        "worker_count": len(rows),
        "desired": len(rows),
        "running": len(rows),
        "ready_workers": len(rows),
        "min_ready": 1,
        "essential": True,
        "reason": None,
        "held_by": None,
        "held_since": None,
        "held_until": None,
        "leaving": 0,
        "autoscale": None,
        "backlog": None,
        "jobs_processed": 2494,
        "jobs_failed": 6,
        "jobs_per_minute": 120.0,
        "average_job_time": 0.5,
        "p95_job_time": 0.9,
        "average_wait": 0.1,
        "restarts": 3,
        "callback_failures": 0,
        "last_callback_failure": None,
        "broken_checks": {},
        "workers": rows,
    } | changes


def backlog(**changes: Any) -> Document:
    return {
        "ready": 42,
        "delayed": 1,
        "reserved": 4,
        "failed": 2,
        "oldest_age": 12.5,
        "next_due": 30.0,
        "at": "2026-11-22T10:15:30.000Z",
        "problem": None,
    } | changes


NOT_KNOWN = backlog(**dict.fromkeys(backlog())) | {"problem": "cannot reach redis"}


def queue(name: str = "emails", *pools: str, **changes: Any) -> Document:
    own = {
        "name": name,
        "queues": name.split(","),
        "pools": list(pools or (name,)),
        "arrivals_per_minute": 30.0,
        "completions_per_minute": 60.0,
        "time_to_clear": 42.0,
        "failed_lists": list(pools or (name,))[:1],
    }
    return backlog() | own | changes


def failed_job(identifier: str = "1a2b", **changes: Any) -> Document:
    return {
        "id": identifier,
        "queue": "emails",
        "name": "send_email",
        "arguments": "'a@example.com'",
        "error": "Traceback (most recent call last):\n  …\nValueError: no such address",
        "at": "2026-11-22T10:15:30.000Z",
        "attempts": 3,
    } | changes


def failed_page(*jobs: Document, **changes: Any) -> Document:
    return {
        "queue": "emails",
        "pool": "emails",
        "failed": list(jobs),
        "next": None,
        "recorded_by_chaperone": False,
    } | changes


def status(*pools: Document, **changes: Any) -> Document:
    return {
        "name": "orders",
        "version": "1.2.3",
        "pid": 4321,
        "state": "running",
        "started_at": "2026-11-22T10:00:00.000Z",
        "uptime": 192.4,
        "drain_ends_in": None,
        "pools": list(pools or (pool(),)),
    } | changes


def crash(number: int = 1, **changes: Any) -> Document:
    return {
        "id": number,
        "worker_id": f"emails-{number:06x}",
        "slot": 0,
        "pool": "emails",
        "pid": 4000 + number,
        "at": "2026-11-22T10:00:00.000Z",
        "reason": "signal",
        "detail": "killed by SIGSEGV",
        "crashed": True,
        "exit_code": None,
        "exit_signal": 11,
        "uptime": 12.3,
        "peak_memory": 99.5,
        "cpu_seconds": 1.5,
        "job": None,
        "output": ["starting", "\x1b[31mabout to fail"],
    } | changes


def problem(code: int, detail: str) -> tuple[int, Document]:
    return code, {"type": "about:blank", "title": "Problem", "status": code, "detail": detail, "instance": "/"}
