"""Random sequences of actions and reloads on real processes: in the end there are just the processes that the last
accepted configuration and the last actions ask for."""

import json
import random
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path

import pytest

from chaperone_async.core.spec import PoolSpec
from tests.e2e.reloading import post
from tests.e2e.service import PATIENCE, Answer, Connection, Service, carriers, command, until
from tests.supervision.model import PoolModel, is_good

SUPERVISORS, SEQUENCES, STEPS = 4, 5, 6
"""Sequences follow each other in each supervisor: where one ends, the next one begins."""
NAMES = ("a", "b", "c")
ACTOR = """
import signal, sys, time
if sys.argv[4] == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
while True:
    signal.pause()
"""
HEAD = """
[shutdown]
grace = 5
[defaults]
restart = { start_seconds = 0.1, backoff = { initial = 0.05, max = 0.2 }, crash_loop = { count = 2 } }
stop.timeout = 0.5
"""


@dataclass
class Play:
    """`chance` decides all; `story` is what it decided. `pools` is what the file says."""

    service: Service
    chance: random.Random
    actor: Path
    pools: dict[str, PoolSpec]
    pauses: dict[str, str]
    models: dict[str, PoolModel] = field(default_factory=dict)
    story: list[str] = field(default_factory=list)

    def text(self) -> str:
        return "\n".join(
            f"[pools.{spec.name}]\nworkers = {spec.workers}\npause.mode = {json.dumps(self.pauses[spec.name])}\n"
            f"command = {self.command(spec)}"
            for spec in self.pools.values()
        )

    def command(self, spec: PoolSpec) -> str:
        if spec.command[0] == "missing":
            return '["/nowhere/worker"]'
        temper = "stubborn" if spec.command[1] == "1" else "prompt"
        return command(self.actor, *spec.command, "{slot}", temper, spec.name)

    def step(self) -> None:
        name = self.chance.choice(sorted(self.models))
        steps = [self.act] * 5 + [self.scale, self.kill, self.reload, self.reload, self.hang_up, self.fail]
        self.chance.choice(steps)(name)

    # What is asked

    def act(self, name: str) -> None:
        model = self.models[name]
        slot = self.chance.choice([None, *range(model.desired)])
        verb = self.chance.choice(["start", "stop", "restart", "restart?now=true", "pause", "resume"])
        target = f"/pools/{name}" if slot is None else f"/pools/{name}/workers/{slot}"
        self.ask(f"{target}/{verb}")
        match verb:
            case "start":
                model.start(slot)
            case "stop":
                model.stop(slot)
            case "pause":
                model.pause(slot, inf)
            case "resume":
                model.resume(slot)
            case _:
                model.restart(slot)

    def scale(self, name: str) -> None:
        wanted = self.chance.randint(0, 3)
        self.story.append(f"scale {name} {wanted}")
        connection = Connection(self.service.socket, PATIENCE)
        try:
            connection.request(
                "PATCH", f"/api/v1/pools/{name}", json.dumps({"workers": wanted}), {"Content-Type": "application/json"}
            )
            assert connection.getresponse().status in {200, 202}
        finally:
            connection.close()
        self.models[name].scale(wanted)

    def kill(self, name: str) -> None:
        self.ask(f"/pools/{name}/signal", signal="SIGKILL")

    def reload(self, name: str) -> None:
        self._edit(name)
        self.ask("/reload?force=true")
        self._accept()

    def hang_up(self, name: str) -> None:
        """Only where no earlier change waits for a pause to end, for this one waits for it."""
        self.settle()
        if any(held.why == "pause" for model in self.models.values() for held in model.slots.values()):
            return
        self._edit(name)
        before = self._reloads()
        self.story.append("SIGHUP")
        self.service.send(signal.SIGHUP)
        self.service.until(lambda: self._reloads() > before)
        self._accept()

    def fail(self, name: str) -> None:
        """A program that is not there is taken back, where there is anybody to try it."""
        self.settle()
        model = self.models[name]
        if not model.plain or not model.desired:
            return
        good = self.pools[name]
        self.pools[name] = replace(good, command=("missing", "0"))
        self._write()
        answer = self.ask("/reload?wait=20")
        assert answer.json["state"] == "failed"
        assert "taken back" in answer.json["detail"]
        self.pools[name] = good
        self._write()

    def ask(self, path: str, **body: object) -> Answer:
        self.story.append(path)
        """A pool that is still being changed is waited for, as the refusal says."""
        answer = until(lambda: given if "still being" not in (given := self._post(path, body)).body else None)
        assert answer.status in {200, 202}, answer.body
        return answer

    def _post(self, path: str, body: dict[str, object]) -> Answer:
        return post(self.service, path, 2 * PATIENCE, **body)

    def _edit(self, name: str) -> None:
        old = self.pools.get(name)
        others = [each for each in NAMES if each not in self.pools]
        if old is not None and len(self.pools) > 1 and self.chance.random() < 0.15:
            del self.pools[name]
        elif others and self.chance.random() < 0.5:
            self.pools[others[0]] = PoolSpec(name=others[0], command=("good", "0"), workers=self.chance.randint(0, 3))
        elif old is not None and self.chance.random() < 0.5:
            self.pools[name] = replace(old, workers=self.chance.randint(0, 3))
        elif old is not None:
            self.pools[name] = replace(old, command=("good", str(self.chance.randint(0, 2))))
        self._write()

    def _write(self) -> None:
        self.story.append(", ".join(f"{spec.name}: {spec.workers} {spec.command}" for spec in self.pools.values()))
        head = self.service.config.read_text().partition("[pools.")[0]
        self.service.config.write_text(head + self.text())

    def _accept(self) -> None:
        gone = self.models.keys() - self.pools.keys()
        for name in gone:
            del self.models[name]
        for name, spec in self.pools.items():
            if name in self.models:
                self.models[name].change(spec, under_way=False)
            else:
                self.models[name] = PoolModel.of(spec)
        self.service.until(
            lambda: not gone & {pool["name"] for pool in self.service.get("/api/v1/pools").json["pools"]}
        )

    def _reloads(self) -> int:
        operations = self.service.get("/api/v1/operations").json["operations"]
        return sum(each["action"] == "reload" for each in operations) if len(operations) < 100 else 0

    # What is there

    def settle(self) -> None:
        self.service.until(lambda: self.wrong() == "")

    def wrong(self) -> str:
        operations = self.service.get("/api/v1/operations?limit=20").json["operations"]
        if [each for each in operations if each["state"] == "running"]:
            return "an operation is under way"
        working, frozen = self._processes()
        wanted = sorted(
            (name, slot, *model.spec.command) for name, model in self.models.items() for slot in model.running
        )
        if sorted(working) != wanted:
            return f"{working} work, {wanted} are wanted"
        for name, slot, *_ in frozen:
            held = self.models[name].slots.get(slot)
            extra = slot >= self.models[name].desired and self.models[name].held is not None
            if not extra and (held is None or held.why != "pause"):
                return f"{name}:{slot} is frozen"
        return ""

    def _processes(self) -> tuple[list[tuple[str, int, str, str]], list[tuple[str, int, str, str]]]:
        """Those that work, and those that are stopped: the pool, the slot and the command of each."""
        working: list[tuple[str, int, str, str]] = []
        frozen: list[tuple[str, int, str, str]] = []
        for pid, line in carriers(self.service.mark).items():
            words = line.split()
            if str(self.actor) not in words:
                continue
            what, version, slot, _, pool = words[words.index(str(self.actor)) + 1 :]
            try:
                letter = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            (frozen if letter in "Tt" else working).append((pool, int(slot), what, version))
        return working, frozen


@pytest.mark.timeout(240)
def test_twenty_random_sequences_end_with_the_processes_that_were_asked_for(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(2**32)
    with ThreadPoolExecutor(SUPERVISORS) as threads:
        plays = [threads.submit(play, tmp_path / str(number), seed + number) for number in range(SUPERVISORS)]
    for done in plays:
        done.result()


def play(directory: Path, seed: int) -> None:
    directory.mkdir()
    actor = directory / "actor.py"
    actor.write_text(ACTOR)
    chance = random.Random(seed)
    pools = {name: PoolSpec(name=name, command=("good", "0"), workers=chance.randint(1, 3)) for name in "ab"}
    pauses = {name: chance.choice(["drain", "freeze"]) for name in NAMES}
    acting = Play(Service(directory, "", head=HEAD), chance, actor, pools, pauses)
    acting.models = {name: PoolModel.of(spec) for name, spec in pools.items()}
    with acting.service as service:
        acting._write()
        service.start().until_up("/livez")
        for number in range(SEQUENCES):
            acting.story.append(f"-- sequence {number}")
            try:
                for _ in range(STEPS):
                    acting.step()
                acting.settle()
            except AssertionError as error:
                story = "\n".join(acting.story)
                raise AssertionError(f"seed {seed}: {acting.wrong()}\n{acting.models}\n{story}\n{error}") from error
        assert all(is_good(model.spec) for model in acting.models.values())
        assert service.stop() == 0
