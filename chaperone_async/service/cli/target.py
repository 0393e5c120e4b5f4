"""What a command is to act on: a pool, `pool:slot`, a worker's id, or `all`."""

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from chaperone_async.service.cli.outcome import NotFoundError

if TYPE_CHECKING:
    from chaperone_async.service.cli.client import Client

TARGET = "a pool, one of its slots (POOL:SLOT), a worker's id, or `all`"
Pools = list[dict[str, Any]]


def find_paths(client: "Client", texts: list[str]) -> list[str]:
    """Where in the API each is acted on. Raises NotFoundError, before anything has been done, for what there is not."""
    if set(texts) == {"all"}:
        return ["/pools/all"]
    pools: Pools = client.pools()["pools"]
    return [_find(text, pools) for text in texts]


def _find(text: str, pools: Pools) -> str:
    if text == "all" or any(pool["name"] == text for pool in pools):
        return f"/pools/{quote(text, safe='')}"
    name, _, number = text.rpartition(":")
    for pool in pools:
        for worker in pool["workers"]:
            if text == worker["id"] or (name == pool["name"] and number == str(worker["slot"])):
                return (
                    f"/pools/{quote(pool['name'], safe='')}/workers/{quote(text if text == worker['id'] else number)}"
                )
    raise NotFoundError(f"there is no {text!r}; {_choice(name, pools)}")


def _choice(name: str, pools: Pools) -> str:
    slots = next((len(pool["workers"]) for pool in pools if pool["name"] == name), None)
    if slots is not None:
        return f"pool {name!r} has the slots 0 to {slots - 1}" if slots else f"pool {name!r} has no slots"
    known = ", ".join(pool["name"] for pool in pools)
    return f"name a worker by its id, or one of the pools: {known}" if known else "there are no pools"
