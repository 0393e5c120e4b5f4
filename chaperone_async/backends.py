"""For who brings a backend of his own: see `chaperone_async.system.backends.protocol`. Its table's keys are annotated
fields of a `Table`, of the types in `words` and `units`."""

from chaperone_async.core.spec import JobOptions, RecyclePolicy, Rung
from chaperone_async.system.backends.protocol import GROUP, Ability, Asked, Backend, Plan, Unsuited
from chaperone_async.system.config import units, words
from chaperone_async.system.config.keys import About, Table

__all__ = [
    "GROUP",
    "Ability",
    "About",
    "Asked",
    "Backend",
    "JobOptions",
    "Plan",
    "RecyclePolicy",
    "Rung",
    "Table",
    "Unsuited",
    "units",
    "words",
]
