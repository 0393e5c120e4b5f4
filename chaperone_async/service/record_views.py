"""Crash records, events and operations → plain dicts, as `wire` describes them; see `views`."""

from collections.abc import Iterable

from chaperone_async.core.goals import Missed, Reached, Standing
from chaperone_async.core.spec import MB
from chaperone_async.service.operations import Operation, OperationState
from chaperone_async.service.queue_views import Time
from chaperone_async.service.sentences import level, sentence
from chaperone_async.service.wire import (
    CrashDocument,
    CrashesDocument,
    EventDocument,
    OperationDocument,
    OperationPart,
    OperationsDocument,
)
from chaperone_async.supervision.journal import CrashRecord, Entry


def view_crashes(records: Iterable[CrashRecord], time: Time) -> CrashesDocument:
    return {"crashes": [_crash(record, time) for record in records]}


def _crash(record: CrashRecord, time: Time) -> CrashDocument:
    death = record.death
    return {
        "id": record.id,
        "worker_id": death.worker_id,
        "slot": death.ref.slot,
        "pool": record.pool,
        "pid": death.pid,
        "at": time(death.at),
        "reason": str(death.reason),
        "detail": death.detail,
        "crashed": death.crashed,
        "exit_code": death.exit_code,
        "exit_signal": death.exit_signal,
        "uptime": round(death.uptime, 3),
        "peak_memory": round(record.peak_memory / MB, 1),
        "cpu_seconds": round(record.cpu_seconds, 2),
        "job": record.job,
        "output": list(record.output),
    }


def view_entry(entry: Entry, time: Time) -> EventDocument:
    news = entry.news
    return {
        "seq": entry.seq,
        "at": time(news.at),
        "event": news.kind,
        "level": level(news),
        "message": sentence(news),
        "pool": entry.pool,
        "worker": news.worker_id,
        "slot": None if news.ref is None else news.ref.slot,
        "pid": news.pid,
        "reason": None if news.reason is None else str(news.reason),
        "detail": news.detail or None,
        "by": news.by,
    }


def view_operations(operations: Iterable[Operation], time: Time) -> OperationsDocument:
    return {"operations": [view_operation(operation, time) for operation in operations]}


def view_operation(operation: Operation, time: Time) -> OperationDocument:
    parts = [_part(pool, standing) for pool, standing in operation.parts.items()]
    several = len(parts) > 1
    told = [f"{part['pool']}: {part['detail']}" if several else part["detail"] for part in parts if part["detail"]]
    return {
        "id": operation.id,
        "action": operation.action,
        "target": operation.target,
        "state": operation.state,
        "detail": "; ".join(filter(None, told)) or None,
        "by": operation.by,
        "started_at": time(operation.started_at),
        "ended_at": None if operation.ended_at is None else time(operation.ended_at),
        "pools": parts,
    }


def _part(pool: str, standing: Standing) -> OperationPart:
    match standing:
        case Reached(detail):
            state: OperationState = "done"
        case Missed(detail):
            state = "failed"
        case _:
            state, detail = "running", standing.left
    return {"pool": pool, "state": state, "detail": detail or None}
