"""What the HTTP face shows, and to whom."""

from dataclasses import dataclass

from chaperone_async.service.control import Control
from chaperone_async.service.http.entrance import Entrance
from chaperone_async.service.reload import Reloader
from chaperone_async.service.runtime_pools import RuntimePools
from chaperone_async.service.views import Views
from chaperone_async.supervision.supervisor import Supervisor


@dataclass(frozen=True, slots=True, kw_only=True)
class Face:
    """`reloader`: None where there is no file to reload."""

    supervisor: Supervisor
    views: Views
    control: Control
    runtime: RuntimePools
    entrance: Entrance
    reloader: Reloader | None = None
