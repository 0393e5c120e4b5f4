"""The backend of a pool: found by its name, asked for its plan, and what is wrong with that told by key."""

import sys
from collections.abc import Iterator
from importlib.util import find_spec

from chaperone_async.core.expand import JOB_WORDS
from chaperone_async.core.spec import JobOptions, RecyclePolicy
from chaperone_async.system.backends.protocol import Asked, Backend, Plan, Unsuited
from chaperone_async.system.backends.registry import NO_BACKEND, find_backend
from chaperone_async.system.config.build import build_policy
from chaperone_async.system.config.layers import Layer, stated
from chaperone_async.system.config.model import PoolTable
from chaperone_async.system.config.problems import Problems


def plan_backend(
    name: str, table: PoolTable, layers: tuple[Layer, ...], grace: float, problems: Problems
) -> Plan | None:
    """None: the pool has none, or one that was refused."""
    wanted = str(table.backend or NO_BACKEND)
    for other in (layers[0].table.backends or {}).keys() - {wanted}:
        whose = "has none" if wanted == NO_BACKEND else f"has backend = {wanted!r}"
        why = f"is for a pool with backend = {other!r}, and this one {whose}; write that, or remove this table"
        _complain(other, why, layers, problems)
    if wanted == NO_BACKEND:
        if layers[0].table.python:
            why = "is for a pool with a backend, and this one has a command; remove it, or write it into the command"
            _complain("python", why, layers, problems)
        return None
    try:
        backend = find_backend(wanted)
    except LookupError as error:
        _complain("backend", f"{wanted!r} {error}", layers, problems)
        return None
    if table.command:
        why = f"goes without backend = {wanted!r}, which makes its own; remove one of them"
        _complain("command", why, layers, problems)
    asked = _asked(name, table, backend, grace)
    try:
        plan = backend.plan(asked)
    except Unsuited as error:
        _complain(error.key, error.why, layers, problems)
        return None
    for key in _dropped(asked, plan):
        why = f"cannot be honoured: workers of {wanted!r} are not told of it; remove it"
        _complain(key, why, layers, problems)
    missing = [] if table.python else [module for module in plan.needs if find_spec(module) is None]
    if missing:
        extra = backend.extra if missing[0] == plan.needs[0] else None
        _complain("backend", f"{wanted!r} {_advice(extra, missing[0])}", layers, problems)
    return plan


def _dropped(asked: Asked, plan: Plan) -> Iterator[str]:
    """What is wanted of a job, and neither the command line has it nor do we hear enough of the jobs to see to it."""
    ours = {"timeout", "max_jobs"} if plan.reports else set[str]()
    for option in {*JOB_WORDS} - plan.honours - ours:
        if getattr(asked.job, option) is not None:
            yield f"job.{option}"
    if asked.recycle.max_jobs and "max_jobs" not in plan.honours | ours:
        yield "recycle.max_jobs"


def _asked(name: str, table: PoolTable, backend: Backend, grace: float) -> Asked:
    stop = table.stop.timeout if table.stop is not None else None
    return Asked(
        pool=name,
        queues=tuple(table.queue or ("default",)),
        options=(table.backends or {}).get(backend.name) or backend.options(),
        python=str(table.python or sys.executable),
        job=build_policy(JobOptions, table.job),
        recycle=build_policy(RecyclePolicy, table.recycle),
        stop_timeout=min(30.0, grace) if stop is None else float(stop),
    )


def _advice(extra: str | None, module: str) -> str:
    """Our extra brings the library, not what only some of its options need."""
    package = f"chaperone-async[{extra}]" if extra else module
    why = f"needs the package {module}, which is not installed with {sys.executable}"
    return f'{why}; pip install "{package}", or name the application\'s interpreter: python = "/app/.venv/bin/python"'


def _complain(key: str, why: str, layers: tuple[Layer, ...], problems: Problems) -> None:
    """Unless it has been refused before, for what it says."""
    if not any(problems.touch(layer.at.below(key)) for layer in layers):
        problems.add(stated(layers, key) or layers[0].at.below(key), why)
