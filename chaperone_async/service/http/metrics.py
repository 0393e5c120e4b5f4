"""What Prometheus scrapes."""

from contextlib import suppress
from importlib import import_module

from aiohttp import web
from aiohttp.hdrs import ACCEPT, CONTENT_TYPE
from anyio import to_thread

from chaperone_async.service.http.answers import FACE
from chaperone_async.service.http.route import Route


async def show_metrics(request: web.Request) -> web.Response:
    """Only those who are scraped pay for prometheus_client: it is imported by the first one who asks."""
    face = request.app[FACE]
    with suppress(RuntimeError):  # no thread is to be had, so the loop has to wait
        await to_thread.run_sync(import_module, "chaperone_async.service.metrics")
    from chaperone_async.service.metrics import exposition

    page, content_type = exposition(face.supervisor, face.views, ",".join(request.headers.getall(ACCEPT, ())))
    return web.Response(body=page, headers={CONTENT_TYPE: content_type})


ROUTES = (
    Route(
        method="GET", path="/metrics", handler=show_metrics, access="read",
        summary="The metrics of the supervisor and its pools, for Prometheus",
        answers={200: ("text/plain", "application/openmetrics-text")},
    ),
)  # fmt: skip
