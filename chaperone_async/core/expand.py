"""Placeholders in commands, URLs and paths: `{queue}` `{pool}` `{slot}` `{worker_id}`, and job options such as
`{timeout}` where they are set. Other braces are left alone."""

import re
from collections.abc import Mapping

from chaperone_async.core.events import WorkerRef
from chaperone_async.core.spec import JobOptions, PoolSpec

JOB_WORDS = ("timeout", "tries", "backoff", "sleep", "max_exceptions")
_PLACEHOLDER = re.compile(rf"\{{(queue|pool|slot|worker_id|{'|'.join(JOB_WORDS)})\}}")


def placeholders(spec: PoolSpec, ref: WorkerRef, worker_id: str) -> dict[str, str]:
    own = {"queue": spec.queue, "pool": spec.name, "slot": str(ref.slot), "worker_id": worker_id}
    return own | job_words(spec.job)


def job_words(job: JobOptions) -> dict[str, str]:
    """Those that are set: seconds as bare numbers, several separated by commas, as queue systems' options take them."""
    values = {word: getattr(job, word) for word in JOB_WORDS}
    return {word: _bare(value) for word, value in values.items() if value is not None}


def _bare(value: float | tuple[float, ...]) -> str:
    if isinstance(value, tuple):
        return ",".join(map(_bare, value))
    return f"{value:.6f}".rstrip("0").rstrip(".")


def expand(template: str, values: Mapping[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), template)


def words_in(texts: tuple[str, ...]) -> frozenset[str]:
    """The placeholders used."""
    return frozenset(match[1] for text in texts for match in _PLACEHOLDER.finditer(text))


def honoured(spec: PoolSpec) -> frozenset[str]:
    """The job options that the worker is told of, and so keeps to by itself."""
    return spec.backend.honours if spec.backend is not None else words_in(spec.command) & frozenset(JOB_WORDS)


def own_job_timeout(spec: PoolSpec) -> float | None:
    """Seconds after which we end a job's worker, since nobody else does; None: no such limit."""
    return None if "timeout" in honoured(spec) else spec.job.timeout or None
