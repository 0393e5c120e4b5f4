"""The harness that counts lost jobs: it finds none where none is lost, and those that are."""

from dataclasses import replace
from pathlib import Path

from tests.backends.adapters import ADAPTERS, Adapter
from tests.backends.lossless import Outcome, prepared

DURABLE = ADAPTERS["huey"]
PLAIN = replace(
    DURABLE,
    code="""
        from pathlib import Path

        from huey import SqliteHuey

        huey = SqliteHuey("q", filename=str(Path(__file__).with_name("jobs.db")))

        @huey.task()
        def work(number):
            do(number)

        def send(many):
            for number in range(many):
                work(number)
    """,
    patience=3,
)


def tried(adapter: Adapter, directory: Path, *, kills: int) -> Outcome:
    trial = prepared(adapter, directory, "", workers=2)
    with trial.service.start().until_up():
        return trial.run(60, kills)


def test_none_is_lost_that_should_not_be(tmp_path: Path) -> None:
    outcome = tried(DURABLE, tmp_path, kills=2)
    assert (outcome.ran, outcome.never, outcome.kills) == (60, (), 2)


def test_one_that_is_lost_is_found(tmp_path: Path) -> None:
    outcome = tried(PLAIN, tmp_path, kills=5)
    assert outcome.never
    assert outcome.ran + len(outcome.never) == 60
