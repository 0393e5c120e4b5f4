"""The harness that counts lost jobs: it finds none where none is lost, and those that are."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.backends.adapters import ADAPTERS, Adapter
from tests.backends.lossless import Outcome, Trial, prepared

DURABLE = ADAPTERS["huey"]
PLAIN = replace(
    DURABLE,
    code="""
        from pathlib import Path

        from huey import SqliteHuey

        here = Path(__file__).parent
        huey = SqliteHuey("q", filename=str(here / "jobs.db"))

        @huey.task()
        def work(number):
            if number >= 6 and not (here / "gate").exists():
                (here / f"held-{number}").touch()
                while not (here / "gate").exists():
                    time.sleep(0.005)
            do(number)

        def send(many):
            for number in range(many):
                work(number)
    """,
    patience=3,
)
WORKERS = 2


def trial_of(adapter: Adapter, directory: Path) -> Trial:
    return prepared(adapter, directory, "", workers=WORKERS)


def tried(trial: Trial, *, kills: int) -> Outcome:
    with trial.service.start().until_up():
        return trial.run(60, kills)


def test_none_is_lost_that_should_not_be(tmp_path: Path) -> None:
    outcome = tried(trial_of(DURABLE, tmp_path), kills=2)
    assert (outcome.ran, outcome.never, outcome.kills) == (60, (), 2)


def test_one_that_is_lost_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = trial_of(PLAIN, tmp_path)
    kill = trial.kill

    def kill_at_work(*, session: bool) -> None:
        """The first act of all: each worker holds a job, and no more are done before it."""
        trial.service.until(lambda: len(list(tmp_path.glob("held-*"))) == WORKERS)
        kill(session=session)
        (tmp_path / "gate").touch()
        monkeypatch.undo()

    monkeypatch.setattr(trial, "kill", kill_at_work)
    outcome = tried(trial, kills=5)
    assert outcome.never
    assert outcome.ran + len(outcome.never) == 60
