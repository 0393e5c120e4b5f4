"""The control groups this process is in: where their files are, and how much they allow."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

_UNLIMITED = 1 << 60  # version 1 writes "no limit" as the largest number of whole pages
NumberT = TypeVar("NumberT", int, float)


class Group(NamedTuple):
    """Of version 1 with its controllers; of version 2 with none here, because all are in the one tree."""

    version: int
    controllers: frozenset[str]
    folder: Path
    top: Path


@dataclass(frozen=True, slots=True)
class Allowance:
    """None: as much as there is. `memory` in bytes; `processes` counts threads, too."""

    memory: int | None = None
    cpus: float | None = None
    processes: int | None = None


def read_own(name: str, root: Path = Path("/")) -> str:
    """A file of /proc/self; the paths in it need not be text. `root`: where /proc is. Raises OSError."""
    return os.fsdecode((root / "proc/self" / name).read_bytes())


def locate(cgroups: str, mountinfo: str) -> list[Group]:
    """From the texts of /proc/self/cgroup and /proc/self/mountinfo."""
    paths: dict[str, str] = {}
    for line in cgroups.splitlines():
        _, controllers, path = line.split(":", 2)
        paths.update(dict.fromkeys(controllers.split(","), path))
    found: list[Group] = []
    for line in filter(None, mountinfo.split("\n")):  # a path may have other ends of lines in it
        mount, _, source = line.partition(" - ")
        root, point = (_unescape(word) for word in mount.split(" ")[3:5])
        kind, _, options = source.split(" ", 2)
        if kind == "cgroup" and (here := frozenset(options.split(",")) & paths.keys() - {""}):
            found.append(Group(1, here, _inside(point, root, paths[min(here)]), Path(point)))
        elif kind == "cgroup2" and "" in paths:
            found.append(Group(2, frozenset(), _inside(point, root, paths[""]), Path(point)))
    return found


def _inside(mount_point: str, root: str, path: str) -> Path:
    """The directory of the cgroup `path` under a mount that shows the tree from `root` down. In a container either may
    be told from outside its namespace: then the mount itself shows the container's own cgroup."""
    if root == "/":
        return Path(mount_point, path.lstrip("/"))
    if path == root or path.startswith(root + "/"):
        return Path(mount_point, path[len(root) :].lstrip("/"))
    return Path(mount_point)


def _unescape(word: str) -> str:
    return word.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")


def own_groups(root: Path = Path("/")) -> list[Group]:
    """Empty where there are none to be seen, as on other systems than Linux. `root`: where /proc is."""
    try:
        return locate(read_own("cgroup", root), read_own("mountinfo", root))
    except OSError:
        return []


def allowance(groups: list[Group], root: Path = Path("/")) -> Allowance:
    """The least that any group on the way up allows."""
    folders = [(group, folder) for group in groups for folder in _upwards(group, root)]
    return Allowance(
        memory=_least(_count(text) for text in _texts(folders, "memory", "memory.max", "memory.limit_in_bytes")),
        processes=_least(_count(text) for text in _texts(folders, "pids", "pids.max", "pids.max")),
        cpus=_least(
            [
                *(_share(text) for text in _texts(folders, "cpu", "cpu.max", None)),
                *(_share_of_two(folder) for group, folder in folders if "cpu" in group.controllers),
            ]
        ),
    )


def _upwards(group: Group, root: Path) -> Iterator[Path]:
    for folder in (group.folder, *group.folder.parents):
        yield root / folder.relative_to("/")
        if folder == group.top:
            return


def _texts(folders: list[tuple[Group, Path]], controller: str, second: str, first: str | None) -> Iterator[str]:
    """The contents of the file of this name, by version, in each folder that has it."""
    for group, folder in folders:
        name = second if group.version == 2 else first if controller in group.controllers else None
        if name is not None and (text := _read(folder / name)):
            yield text


def _read(path: Path) -> str:
    """Empty where there is none: the topmost group has no limits, and a container may see no group at all."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _count(text: str) -> int | None:
    return int(text) if text.isdigit() and int(text) < _UNLIMITED else None


def _share(text: str) -> float | None:
    """`150000 100000`: so many microseconds of each period."""
    quota, _, period = text.partition(" ")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() else None


def _share_of_two(folder: Path) -> float | None:
    return _share(f"{_read(folder / 'cpu.cfs_quota_us')} {_read(folder / 'cpu.cfs_period_us')}")


def _least(values: Iterable[NumberT | None]) -> NumberT | None:
    return min((value for value in values if value is not None), default=None)
