"""What `chaperone demo` supervises: the pools of its configuration, until the program that sends the jobs has seen all
of them end."""

import json
import sys
from importlib.resources import files
from pathlib import Path

import anyio

from chaperone_async.core.pool import Pool
from chaperone_async.core.states import Finished
from chaperone_async.service.compose import Composed
from chaperone_async.service.run import ConfiguredPools, run_service
from chaperone_async.system.config.load import Config, load

_SENDER = "app"


class Demonstration(ConfiguredPools):
    def __init__(self, config: Config) -> None:
        super().__init__(config.pools)
        self._grace = config.grace

    def attach(self, composed: Composed) -> None:
        super().attach(composed)
        self._supervisor = composed.supervisor

    async def over(self) -> None:
        """Workers that have nothing left to do end gracefully all the same."""
        await self._supervisor.runner(_SENDER).until(_has_finished)
        self._supervisor.shut_down(anyio.current_time() + self._grace)
        await anyio.sleep_forever()


def _has_finished(pool: Pool) -> bool:
    return any(isinstance(slot.state, Finished) for slot in pool.slots)


def configure(here: Path, listen: list[str], jobs: int | None, seconds: float | None) -> Config:
    """As a file, which is there to be looked at."""
    sender = [sys.executable, "-m", "chaperone_async.demo.producer"]
    sender += [] if jobs is None else ["--jobs", str(jobs)]
    sender += [] if seconds is None else ["--seconds", f"{seconds:g}"]
    text = (files("chaperone_async.demo") / "chaperone.toml").read_text()
    for word, value in (("HERE", str(here)), ("LOGS", f"{here}/{{pool}}.log"), ("LISTEN", listen), ("APP", sender)):
        text = text.replace(f"@{word}@", json.dumps(value, ensure_ascii=False).replace("$", "$$"))
    path = here / "chaperone.toml"
    path.write_text(text, encoding="utf-8")
    return load(path, {})


def demonstrate(config: Config) -> int:
    """The exit code of the supervisor."""
    return run_service(config, pools=Demonstration(config))
