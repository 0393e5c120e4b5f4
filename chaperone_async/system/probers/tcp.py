"""The tcp check: whoever accepts a connection passes."""

import anyio

from chaperone_async.core.events import WorkerRef
from chaperone_async.core.expand import expand, placeholders
from chaperone_async.core.spec import PoolSpec
from chaperone_async.system.ports import Verdict
from chaperone_async.system.probers.connecting import (
    connect,
    judge,
    look_up,
    no_answer,
    not_looked_up,
    refuse,
    sample_values,
    split_address,
    unusable,
)


def try_out(spec: PoolSpec, address: str) -> tuple[str, int]:
    """Raises ValueError, saying what would be valid."""
    return split_address(expand(address, sample_values(spec)))


class TcpProber:
    check = "tcp"

    def __init__(self, spec: PoolSpec, address: str) -> None:
        self._spec = spec
        self._address = address
        try:
            try_out(spec, address)
        except ValueError as error:
            refuse(spec, "tcp", str(error))

    async def probe(self, ref: WorkerRef, worker_id: str, pid: int) -> Verdict:  # noqa: ARG002  the port's signature
        try:
            host, port = split_address(expand(self._address, placeholders(self._spec, ref, worker_id)))
        except ValueError as error:
            return unusable(error)
        timeout = self._spec.health.timeout
        late = not_looked_up(host, timeout)
        with anyio.move_on_after(timeout):
            try:
                addresses = await look_up(host, port)
                late = no_answer(timeout)
                (await connect(addresses)).close()
            except OSError as error:
                return judge(error)
            return Verdict(passed=True)
        return late
