"""The table about the failed jobs that we keep ourselves, and where they are kept when it does not say."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

from chaperone_async.system.config import units, words
from chaperone_async.system.config.keys import About, Table

KEEP = 10_000
_SYSTEM = Path("/var/lib/chaperone")


class FailedJobsTable(Table):
    path: Annotated[
        words.Text | None,
        About(
            "of the file; by default in $STATE_DIRECTORY, /var/lib/chaperone or the user's state directory",
            "/var/lib/chaperone/failed-jobs.db",
        ),
    ] = None
    keep: Annotated[units.PositiveCount | None, About("of each pool the latest so many")] = None


@dataclass(frozen=True, slots=True)
class FailedJobsPlace:
    """`path`: None for memory alone."""

    path: Path | None = None
    keep: int = KEEP


def place_of(table: FailedJobsTable | None, name: str, env: Mapping[str, str]) -> FailedJobsPlace:
    """For the instance `name`."""
    table = table or FailedJobsTable()
    path = Path(table.path).absolute() if table.path else default_path(name, env)
    return FailedJobsPlace(path, KEEP if table.keep is None else int(table.keep))


def default_path(name: str, env: Mapping[str, str]) -> Path | None:
    """In what systemd's StateDirectory= made, else in /var/lib/chaperone for whoever may write there, else where XDG
    wants a user's state. None: there is no such place. `name`: that the instance was given; a container's host name is
    another at each start."""
    file = f"failed-jobs-{quote(name, safe='')}.db" if name else "failed-jobs.db"
    if directories := env.get("STATE_DIRECTORY"):
        return Path(directories.split(":")[0]).absolute() / file
    if os.geteuid() == 0 or os.access(_SYSTEM, os.W_OK):
        return _SYSTEM / file
    try:
        state = Path(env.get("XDG_STATE_HOME") or Path.home() / ".local/state")
    except RuntimeError:  # somebody without a home
        return None
    return state.absolute() / "chaperone" / file
