"""A Celery application, as its author would write it. The environment says where its jobs are; what becomes of them
stands in the directory $OUT."""

import json
import os
import time
from pathlib import Path

from celery import Celery

OUT = Path(os.environ["OUT"])
app = Celery("jobs", broker=os.environ["BROKER"])
app.conf.update(json.loads(os.environ["CONF"]))


def write(file: str, line: object) -> None:
    """Whole lines, by whoever writes."""
    with (OUT / file).open("a") as lines:
        lines.write(f"{line}\n")


def wait_for(file: str) -> None:
    while not (OUT / file).exists():
        time.sleep(0.02)


@app.task(name="note")
def note(number: int, seconds: float = 0.0) -> None:
    time.sleep(seconds)
    write("done", number)


@app.task(name="hold")
def hold(number: int) -> None:
    write("begun", number)
    wait_for("go")
    write("done", number)


@app.task(name="hold_early", acks_late=False)
def hold_early(number: int) -> None:
    hold(number)


@app.task(name="mend_in_place")
def mend_in_place(number: int) -> None:
    """If it can be mended; it is done without that, too."""
    mend.apply((number,), {"what": "paper"})
    write("done", number)


@app.task(name="mend")
def mend(number: int, *, what: str) -> None:
    if not (OUT / what).exists():
        raise ValueError(f"{what} is not there")
    write("done", number)
