"""Where a file would come to be, as far as we may look."""

import os
from pathlib import Path


def is_there(path: Path) -> bool:
    """What lies behind a directory that is not ours to enter cannot be seen, and so counts as missing."""
    try:
        return path.exists()
    except PermissionError:
        return False


def nearest(path: Path) -> Path:
    """The path itself, or the first of its parents that is there."""
    return next(place for place in (path, *path.parents) if is_there(place))


def is_writable(place: Path) -> bool:
    """Whether we may make files in this directory."""
    return place.is_dir() and os.access(place, os.W_OK | os.X_OK, effective_ids=True)
