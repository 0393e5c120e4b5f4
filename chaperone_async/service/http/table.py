"""The whole API in one table: what is not here is not served, not guarded and not documented."""

from chaperone_async.service.http import (
    actions,
    crashes,
    decisions,
    events,
    failed,
    logs,
    metrics,
    openapi,
    operations,
    pools,
    probes,
    queues,
    reload,
    status,
    workers,
)
from chaperone_async.service.http.route import Route

NOUNS = (
    probes, metrics, status, pools, workers, actions, operations, reload, queues, failed, decisions, logs, events,
    crashes, openapi,
)  # fmt: skip

TABLE: tuple[Route, ...] = tuple(route for noun in NOUNS for route in noun.ROUTES)
