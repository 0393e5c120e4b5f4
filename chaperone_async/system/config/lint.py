"""What `config check` warns of: a configuration that is valid, and probably not what was meant."""

import os
from collections.abc import Iterator
from pathlib import Path

from chaperone_async.core.budget import most_memory
from chaperone_async.core.expand import own_job_timeout
from chaperone_async.core.spec import Launch, PoolSpec
from chaperone_async.system.config.load import Config
from chaperone_async.system.control_group import allowance, own_groups

_LAST_SECOND = 1.0  # workers still alive this long before the shutdown deadline are killed
_LOOPBACK = ("127.", "localhost:", "[::1]:")


def lint(config: Config, memory: int | None = None) -> list[str]:
    """Warnings, one line each. `memory`: bytes there are for all pools; by default this machine's or container's."""
    return [
        *_lint_listeners(config),
        *_lint_tls(config),
        *_lint_memory(config, available_memory() if memory is None else memory),
        *(f"pools.{pool.name}.{warning}" for pool in config.pools for warning in _lint_pool(pool, config)),
    ]


def _lint_listeners(config: Config) -> Iterator[str]:
    if config.token or config.users:
        return
    for listener in config.listen:
        if not listener.startswith(("unix:", *_LOOPBACK)):
            yield (
                f"http.listen: {listener} can be reached from outside and there is no http.token: "
                "everyone may read, and changes are refused; set a token, or listen on 127.0.0.1"
            )


def _lint_tls(config: Config) -> Iterator[str]:
    for key, path in (("cert", config.tls.cert), ("key", config.tls.key)) if config.tls is not None else ():
        if not os.access(path, os.F_OK):
            yield f"http.tls.{key}: there is no {path!r} here"


def _lint_memory(config: Config, memory: int) -> Iterator[str]:
    total = most_memory(config.pools, config.budget)
    if total > memory:
        yield (
            "pools: the health.memory_limit of all workers there may be adds up to "
            f"{total / 1e6:.0f} MB, and there are {memory / 1e6:.0f} MB: "
            "the kernel may kill workers before a limit does; lower limits or workers"
        )


def _lint_pool(pool: PoolSpec, config: Config) -> Iterator[str]:
    if pool.name in config.stated_stops and pool.stop.timeout > config.grace - _LAST_SECOND:
        yield (
            f"stop.timeout: {pool.stop.timeout:g} s leaves no time within shutdown.grace, {config.grace:g} s: "
            f"workers are killed {_LAST_SECOND:g} s before its end; raise the grace, or write less"
        )
    if (pool.job.timeout or 0) > pool.stop.timeout:
        yield (
            f"job.timeout: a job may take {pool.job.timeout:g} s, and a stop cuts it off after stop.timeout, "
            f"{pool.stop.timeout:g} s; raise that, and shutdown.grace with it, or write less"
        )
    if pool.backend is not None and pool.backend.warning is not None:
        yield f"backend: {pool.backend.warning}"
    if pool.health.heartbeat and pool.backend is not None and not pool.backend.beats:
        yield (
            "health.heartbeat: has no effect: these workers give no sign of life, or none while they have a job; "
            "remove it, or have the application call chaperone_async.worker.notify.heartbeat()"
        )
    yield from _lint_reports(pool)
    yield from _lint_program(pool)
    yield from _lint_launch(pool.launch)


def _lint_reports(pool: PoolSpec) -> Iterator[str]:
    """What rests on workers that tell of their jobs. Those of a command may, by chaperone_async.worker."""
    if pool.backend is not None and pool.backend.reports:
        return
    if pool.health.stall:
        yield (
            "health.stall: where workers do not report their jobs, only a backlog that shrinks is progress: "
            "one that grows for so long has workers recycled that do work; report jobs, or make it longer"
        )
    if pool.backend is None and own_job_timeout(pool) is not None:
        yield "job.timeout: has effect only if the workers report their jobs; or write {timeout} into the command"


def _lint_program(pool: PoolSpec) -> Iterator[str]:
    program, directory = pool.command[0], pool.launch.directory or "."
    if "{" in program or "{" in directory:
        return
    key = "python" if pool.backend is not None and pool.backend.python else "command"
    if os.sep in program:
        if not os.access(Path(directory) / program, os.X_OK):
            yield f"{key}: {program!r} is not an executable file here"
        return
    from shutil import which

    if which(program, path=dict(pool.launch.env).get("PATH")) is None:
        yield f"{key}: there is no program {program!r} on PATH here"


def _lint_launch(launch: Launch) -> Iterator[str]:
    from grp import getgrnam
    from pwd import getpwnam

    for key, name, look_up in (("user", launch.user, getpwnam), ("group", launch.group, getgrnam)):
        if name is None or name.isdigit():
            continue
        try:
            look_up(name)
        except KeyError:
            yield f"{key}: there is no {key} {name!r} here"
    for key, path in (("directory", launch.directory), ("env_file", launch.env_file)):
        if path is not None and "{" not in path and not os.access(path, os.F_OK):
            yield f"{key}: there is no {path!r} here"


def available_memory() -> int:
    """The least of this machine's memory and what its control groups allow, in bytes."""
    there_is = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    allowed = allowance(own_groups()).memory
    return there_is if allowed is None else min(there_is, allowed)
