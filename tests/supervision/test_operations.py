"""Operations as such: what becomes of one that cannot be followed."""

import anyio
import pytest

from chaperone_async.core.goals import Missed, Reached, Standing
from chaperone_async.service.operations import Operations, Report, reached


async def broken(_: Report) -> Standing:
    raise LookupError("nowhere")


async def test_what_cannot_be_followed_has_failed_and_takes_nobody_with_it(caplog: pytest.LogCaptureFixture) -> None:
    operations = Operations()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(operations.run)
        await anyio.wait_all_tasks_blocked()
        begun = operations.begin("start", "all", "alice", {"emails": broken, "sms": reached()})
        ended = await operations.wait(begun.id, 10)
        assert ended.state == "failed"
        assert ended.parts == {"emails": Missed("following it failed: LookupError('nowhere')"), "sms": Reached()}
        assert "cannot be followed in pool emails" in caplog.text
        tasks.cancel_scope.cancel()
