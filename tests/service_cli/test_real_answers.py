"""The commands against the real HTTP face: both sides mean the same documents."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
from anyio import to_thread

from tests.service.canned import Canned, served, spec, up, world
from tests.service_cli.conftest import Chaperone


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def answers(chaperone: Chaperone, canned: Canned, directory: Path, lines: Sequence[str]) -> list[tuple[int, str]]:
    async with served(canned.face(), directory) as face:
        commands = [partial(chaperone, *line.split(), "--url", f"unix:{face.unix}") for line in lines]
        ended = [await to_thread.run_sync(command) for command in commands]
    return [(each.code, each.out + each.err) for each in ended]


async def test_every_question_is_understood_and_its_answer_too(chaperone: Chaperone, tmp_path: Path) -> None:
    emails = up(spec("emails", workers=2))
    emails.dies(emails.ref(0), code=3)
    lines = [
        "health",
        "ready emails",
        "ready email",
        "workers",
        "workers emails",
        "status",
        "crashes",
        "crashes emails",
    ]
    got = await answers(chaperone, Canned(emails, up(spec("mails"))), tmp_path, lines)
    assert [code for code, _ in got] == [0, 0, 1, 0, 0, 0, 0, 0]
    texts = [text for _, text in got]
    assert texts[:2] == ["ok\n", "ok\n"]
    assert texts[2] == "chaperone: there is no pool named 'email'; there are: emails, mails\n"
    assert "mails: running, 1/1 ready" in texts[3]
    assert [line.split()[0] for line in texts[5].splitlines()[2:]] == ["emails", "mails"]
    assert texts[6] == texts[7]
    assert "error" in texts[6].splitlines()[1].split()


async def test_the_reason_of_not_being_ready_is_on_one_line(chaperone: Chaperone, tmp_path: Path) -> None:
    [(code, text)] = await answers(chaperone, Canned(world(spec("emails"))), tmp_path, ["ready"])
    assert code == 1
    assert text.startswith("emails failed: ")
    assert text.count("\n") == 1
