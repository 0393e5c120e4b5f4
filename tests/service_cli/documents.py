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
        "current_job": None,
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
        "state": "running",
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
        "jobs_processed": 2494,
        "restarts": 3,
        "callback_failures": 0,
        "last_callback_failure": None,
        "broken_checks": {},
        "workers": rows,
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
