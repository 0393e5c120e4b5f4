"""How chaperone runs workers of spool."""

from typing import Annotated, ClassVar

from chaperone_async.backends import About, Asked, Plan, Table, Unsuited, words


class SpoolTable(Table):
    directory: Annotated[words.Text | None, About("where the queues are", "/var/spool/jobs")] = None


class Spool:
    name: ClassVar[str] = "spool"
    options: ClassVar[type[Table]] = SpoolTable
    extra: ClassVar[str | None] = None

    def plan(self, asked: Asked) -> Plan:
        directory = asked.options.directory
        if not directory:
            raise Unsuited("spool.directory", 'is missing; write one such as "/var/spool/jobs"')
        return Plan(
            command=(asked.python, "-m", "spool.worker", directory, *asked.queues),
            reports=True,
            attendant="spool.attendant",
            settings={"directory": directory},
            can=frozenset({"backlog", "reclaim"}),
        )
