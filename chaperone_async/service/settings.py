"""The supervisor's own settings: which of them a reload puts in force at once, and what differs between two files."""

from collections.abc import Callable
from dataclasses import dataclass, field

from chaperone_async.system.config.load import Config
from chaperone_async.system.config.units import Duration


@dataclass(frozen=True, slots=True)
class SettingChange:
    """As it is written. `secret`: its values are not for anybody to see. `live`: it has effect at once; else when the
    supervisor is started the next time."""

    key: str
    old: object = field(repr=False)
    new: object = field(repr=False)
    live: bool
    secret: bool = False


@dataclass(frozen=True, slots=True)
class Readied:
    """Settings that were checked. `adopt` puts them in force. `renewed`: what has changed besides what the
    configuration says."""

    adopt: Callable[[], None]
    renewed: tuple[SettingChange, ...] = ()


Ready = Callable[[Config], Readied]
"""Checks the settings that have effect at once. Raises ConfigError."""

_LIVE: tuple[tuple[str, Callable[[Config], object], bool], ...] = (
    ("shutdown.grace", lambda config: Duration.write(config.grace), False),
    ("logs.level", lambda config: config.log_level, False),
    ("watch", lambda config: config.watch, False),
    ("budget.max_workers", lambda config: config.budget, False),
    ("http.token", lambda config: config.token, True),
    ("http.users", lambda config: config.users, True),
)
_LATER: tuple[tuple[str, Callable[[Config], object]], ...] = (
    ("name", lambda config: config.name),
    ("http.listen", lambda config: list(config.listen)),
    ("http.socket_mode", lambda config: f"{config.socket_mode:04o}"),
    ("http.tls", lambda config: None if config.tls is None else {"cert": config.tls.cert, "key": config.tls.key}),
    ("logs.format", lambda config: config.log_format),
    ("failed_jobs.path", lambda config: str(config.failed_jobs.path)),
    ("failed_jobs.keep", lambda config: config.failed_jobs.keep),
)


def setting_changes(old: Config, new: Config) -> list[SettingChange]:
    changes = [
        SettingChange(key, get(old), get(new), live=True, secret=secret)
        for key, get, secret in _LIVE
        if get(old) != get(new)
    ]
    changes += [SettingChange(key, get(old), get(new), live=False) for key, get in _LATER if get(old) != get(new)]
    return changes
