"""Placeholders in commands, URLs and paths: `{queue}` `{pool}` `{slot}` `{worker_id}`. Other braces are left alone."""

import re
from collections.abc import Mapping

from chaperone_async.core.events import WorkerRef
from chaperone_async.core.spec import PoolSpec

_PLACEHOLDER = re.compile(r"\{(queue|pool|slot|worker_id)\}")


def placeholders(spec: PoolSpec, ref: WorkerRef, worker_id: str) -> dict[str, str]:
    return {"queue": spec.queue, "pool": spec.name, "slot": str(ref.slot), "worker_id": worker_id}


def expand(template: str, values: Mapping[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda match: values[match[1]], template)
