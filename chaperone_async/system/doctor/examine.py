"""All findings about this machine and a configuration, in the order in which they are read."""

from collections.abc import Mapping
from pathlib import Path

from chaperone_async.errors import ConfigError
from chaperone_async.system.config.lint import lint
from chaperone_async.system.config.load import DEFAULT_GRACE, Config, load
from chaperone_async.system.doctor.finding import Finding
from chaperone_async.system.doctor.listening import examine_listeners
from chaperone_async.system.doctor.machine import examine_machine
from chaperone_async.system.doctor.resources import examine_resources
from chaperone_async.system.doctor.rights import examine_rights
from chaperone_async.system.doctor.shutdown import examine_shutdown


def examine(path: Path | None, env: Mapping[str, str], root: Path = Path("/")) -> list[Finding]:
    """A configuration that cannot be used is a finding, too. `root`: where /proc and /sys are."""
    config, about = _read(path, env)
    pools = () if config is None else config.pools
    return [
        about,
        *examine_machine(root),
        *examine_resources(pools, root, None if config is None else config.budget),
        *examine_rights(pools, root),
        *([] if config is None else examine_listeners(config.listen, tls=config.tls is not None)),
        examine_shutdown(
            DEFAULT_GRACE if config is None else config.grace, env, root,
            reclaims=any(pool.backend is not None for pool in pools),
        ),
    ]  # fmt: skip


def _read(path: Path | None, env: Mapping[str, str]) -> tuple[Config | None, Finding]:
    try:
        config = load(path, env)
    except ConfigError as error:
        first, *others = error.problems
        more = f" (and {len(others)} more)" if others else ""
        if first.startswith("cannot find"):
            return None, Finding(
                "configuration", "warn", "none found", "what follows is about the machine; give one by -c"
            )
        return None, Finding("configuration", "fail", f"{first}{more}", "see `chaperone config check`")
    workers = sum(pool.workers for pool in config.pools)
    what = f"{config.source}: {_counted(len(config.pools), 'pool')}, {_counted(workers, 'worker')}"
    if warnings := lint(config):
        return config, Finding(
            "configuration", "warn", what, f"{_counted(len(warnings), 'warning')}: see `chaperone config check`"
        )
    return config, Finding("configuration", "ok", what)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
