"""For each queue system an application whose jobs note that they are done, as `lossless` and the benchmarks run it."""

from dataclasses import dataclass
from textwrap import dedent
from typing import Literal

COMMON = '''
import asyncio, os, time

URL, SLICE = os.environ["URL"], float(os.environ["SLICE"])


def note(number):
    """In one write, which is whole or not at all."""
    record = os.open(os.environ["RECORD"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(record, b"%d\\n" % number)
    os.close(record)


def do(number):
    if SLICE:
        time.sleep(SLICE)
    note(number)


async def do_async(number):
    if SLICE:
        await asyncio.sleep(SLICE)
    note(number)
'''


@dataclass(frozen=True)
class Adapter:
    """`code`: of the application, behind what is common to all: `send(n)` sends n jobs to the queue q; `prepare()`, if
    it is there, comes before all. `options`: of the pool, where {url} is the server's. `patience`: seconds that a job
    may stay where nobody can take it."""

    backend: str
    server: Literal["redis", "rabbitmq", "postgresql"] | None
    code: str
    options: str
    patience: float = 30.0

    @property
    def source(self) -> str:
        return COMMON + dedent(self.code)


_DRAMATIQ = """
    import dramatiq

    {broker}
    dramatiq.set_broker(broker)

    @dramatiq.actor(queue_name="q")
    def work(number):
        do(number)

    def send(many):
        for number in range(many):
            work.send(number)
"""
_CELERY = """
    from celery import Celery

    app = Celery("app", broker=URL)
    app.conf.update(
        task_acks_late=True, task_reject_on_worker_lost=True, worker_prefetch_multiplier=1, task_ignore_result=True,
        task_default_queue="q", broker_connection_retry_on_startup=True,
    )

    @app.task
    def work(number):
        do(number)

    def send(many):
        with app.producer_pool.acquire(block=True) as producer:
            for number in range(many):
                work.apply_async((number,), queue="q", producer=producer)
"""
_TASKIQ = """
    from taskiq_redis import {kind}

    broker = {kind}(URL, queue_name="q")

    @broker.task
    async def work(number: int) -> None:
        await do_async(number)

    def send(many):
        async def run():
            await broker.startup()
            for number in range(many):
                await work.kiq(number)
            await broker.shutdown()

        asyncio.run(run())
"""

ADAPTERS = {
    "huey": Adapter(
        "huey",
        None,
        """
        from pathlib import Path

        from chaperone_async.huey import DurableHuey

        huey = DurableHuey("q", Path(__file__).with_name("jobs.db"), max_deaths=1000)

        @huey.task()
        def work(number):
            do(number)

        def send(many):
            for number in range(many):
                work(number)
        """,
        'huey.app = "app.huey"\njob.sleep = 0.05',
    ),
    "rq": Adapter(
        "rq",
        "redis",
        """
        from redis import Redis
        from rq import Queue

        def work(number):
            do(number)

        def send(many):
            with Redis.from_url(URL) as connection:
                queue = Queue("q", connection=connection)
                queue.enqueue_many([Queue.prepare_data("app.work", [number]) for number in range(many)])
        """,
        'rq = { url = "{url}", max_deaths = 1000 }',
    ),
    "rq-simple": Adapter(
        "rq",
        "redis",
        """
        from redis import Redis
        from rq import Queue

        def work(number):
            do(number)

        def send(many):
            with Redis.from_url(URL) as connection:
                queue = Queue("q", connection=connection)
                queue.enqueue_many([Queue.prepare_data("app.work", [number]) for number in range(many)])
        """,
        'rq = { url = "{url}", simple = true, max_deaths = 1000 }',
    ),
    "dramatiq-redis": Adapter(
        "dramatiq",
        "redis",
        _DRAMATIQ.format(broker="from dramatiq.brokers.redis import RedisBroker\n    broker = RedisBroker(url=URL)"),
        'dramatiq = { app = "app", max_deaths = 0 }',
    ),
    "dramatiq-rabbitmq": Adapter(
        "dramatiq",
        "rabbitmq",
        _DRAMATIQ.format(
            broker="from dramatiq.brokers.rabbitmq import RabbitmqBroker\n    broker = RabbitmqBroker(url=URL)"
        ),
        'dramatiq = { app = "app" }',
    ),
    "celery-redis": Adapter("celery", "redis", _CELERY, 'celery = { app = "app", max_deaths = 0 }'),
    "celery-rabbitmq": Adapter("celery", "rabbitmq", _CELERY, 'celery = { app = "app" }'),
    "procrastinate": Adapter(
        "procrastinate",
        "postgresql",
        """
        import procrastinate

        app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=URL))

        @app.task(queue="q", name="work")
        def work(number):
            do(number)

        def sender():
            return app.replace_connector(procrastinate.SyncPsycopgConnector(conninfo=URL))

        def prepare():
            with sender() as opened, opened.open():
                opened.schema_manager.apply_schema()

        def send(many):
            with sender() as opened, opened.open():
                opened.configure_task("work", queue="q").batch_defer(*({"number": n} for n in range(many)))
        """,
        'procrastinate = { app = "app.app", max_deaths = 0 }',
    ),
    "saq": Adapter(
        "saq",
        "redis",
        """
        import saq

        queue = saq.Queue.from_url(URL, name="q")

        async def work(ctx, *, number):
            await do_async(number)

        settings = {"queue": queue, "functions": [work], "concurrency": 1}

        def send(many):
            async def run():
                for number in range(many):
                    await queue.enqueue("work", number=number, retries=1000, timeout=60)
                await queue.disconnect()

            asyncio.run(run())
        """,
        'saq = { app = "app.settings", max_deaths = 0 }',
    ),
    "taskiq-list": Adapter("taskiq", "redis", _TASKIQ.format(kind="ListQueueBroker"), 'taskiq.app = "app:broker"'),
    "taskiq-stream": Adapter(
        "taskiq",
        "redis",
        _TASKIQ.format(kind="RedisStreamBroker"),
        'taskiq = { app = "app:broker", max_deaths = 0 }',
    ),
    "arq": Adapter(
        "arq",
        "redis",
        """
        from arq import create_pool
        from arq.connections import RedisSettings

        async def work(ctx, number):
            await do_async(number)

        class WorkerSettings:
            functions = [work]
            redis_settings = RedisSettings.from_dsn(URL)
            queue_name = "q"
            max_tries = 1000

        def send(many):
            async def run():
                pool = await create_pool(WorkerSettings.redis_settings, default_queue_name="q")
                for number in range(many):
                    await pool.enqueue_job("work", number)
                await pool.aclose()

            asyncio.run(run())
        """,
        'arq.app = "app.WorkerSettings"',
    ),
}
