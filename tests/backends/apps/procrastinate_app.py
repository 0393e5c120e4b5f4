"""A Procrastinate application; its database is where $TEST_SERVER says."""

import os

from procrastinate import App, PsycopgConnector

from tests.backends.apps import work as jobs
from tests.backends.apps.async_work import holding

app = App(connector=PsycopgConnector(conninfo=os.environ.get("TEST_SERVER", "")))


@app.task(queue="mails", name="work")
def work(place: str, what: str) -> None:
    jobs.work(place, what)


@app.task(queue="mails", name="hold")
async def hold(place: str, what: str) -> None:
    await holding(place, what)


@app.task(queue="mails", name="fail")
def fail(place: str, what: str) -> None:
    jobs.fail(place, what)
