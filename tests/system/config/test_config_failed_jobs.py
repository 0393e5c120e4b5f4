"""`[failed_jobs]`: where the list is kept, and how much of it."""

from pathlib import Path

from chaperone_async.service.settings import setting_changes
from chaperone_async.system.config.failed_jobs import FailedJobsPlace
from tests.system.config.conftest import Load, Refuse, Write
from tests.system.config.test_config_problems import POOL
from tests.system.config.test_config_show import shown


def test_the_list_of_failed_jobs_is_kept_where_the_file_says(loaded: Load, tmp_path: Path) -> None:
    config = loaded(f'failed_jobs = {{ path = "failed.db", keep = 5 }}\n{POOL}')
    assert config.failed_jobs == FailedJobsPlace(tmp_path / "failed.db", 5)


def test_by_default_it_is_in_the_state_directory_by_the_name_of_the_instance(write: Write) -> None:
    told = shown(write(f'name = "me"\n{POOL}'), STATE_DIRECTORY="/state")
    assert told["failed_jobs.path"] == ("/state/failed-jobs-me.db", "the state directory")
    assert told["failed_jobs.keep"] == (10_000, "default")


def test_what_cannot_be_meant_is_refused(refused: Refuse) -> None:
    assert refused(f"failed_jobs.keep = 0\n{POOL}") == [
        "chaperone.toml: failed_jobs.keep: 0 is out of range; write a whole number from 1 to 1000000"
    ]


def test_another_place_is_for_the_next_start(loaded: Load) -> None:
    old, new = loaded(POOL, STATE_DIRECTORY="/a"), loaded(f"failed_jobs.keep = 5\n{POOL}", STATE_DIRECTORY="/b")
    assert [(change.key, change.live) for change in setting_changes(old, new)] == [
        ("failed_jobs.path", False), ("failed_jobs.keep", False),
    ]  # fmt: skip
