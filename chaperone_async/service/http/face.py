"""What the HTTP face shows, and to whom."""

from dataclasses import dataclass, field

from chaperone_async.service.control import Control
from chaperone_async.service.reload import Reloader
from chaperone_async.service.runtime_pools import RuntimePools
from chaperone_async.service.views import Views
from chaperone_async.supervision.supervisor import Supervisor
from chaperone_async.system.config.load import Tls


@dataclass(frozen=True, slots=True, kw_only=True)
class Face:
    """`reloader`: None where there is no file to reload. With a `token` or `users` (name and scrypt hash), TCP clients
    must show one of them. `tls`: TCP speaks HTTPS."""

    supervisor: Supervisor
    views: Views
    control: Control
    runtime: RuntimePools
    reloader: Reloader | None = None
    token: str | None = field(default=None, repr=False)
    users: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    tls: Tls | None = None
