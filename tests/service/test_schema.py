"""openapi.json says what the API does: every operation is tried with right and wrong requests over a real socket."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from anyio.from_thread import start_blocking_portal
from hypothesis import settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from chaperone_async.service.http.openapi import Description
from chaperone_async.service.http.table import TABLE
from tests.service.acting import AT_ONCE, acting
from tests.service.canned import Canned, served, spec, up
from tests.supervision.fakes import FakeWorld

TOKEN = "s3cret-token"
DOCUMENT = Description(TABLE, "1.2.3", ["token"]).document
KNOWN = {"pool": "emails", "queue": "emails", "id": "0"}

schema = schemathesis.openapi.from_dict(json.loads(DOCUMENT))
endless = [route.path for route in TABLE if route.answers.get(200) == "text/event-stream"]


@schema.hook
def map_path_parameters(_: object, parameters: dict[str, Any] | None) -> dict[str, Any] | None:
    """Of random names half are of something that there is."""
    if not parameters:
        return parameters
    return {name: KNOWN.get(name, text) if len(str(text)) % 2 else text for name, text in parameters.items()}


def takes_free_text(operation: dict[str, Any]) -> bool:
    """What a text may say, or a value of any type, can be more than a schema tells: a refusal contradicts nothing."""
    schemas = [parameter["schema"] for parameter in operation.get("parameters", []) if parameter["in"] == "query"]
    for body in operation.get("requestBody", {}).get("content", {}).values():
        name = body["schema"].get("$ref", "").rpartition("/")[2]
        schemas += json.loads(DOCUMENT)["components"]["schemas"].get(name, {}).get("properties", {}).values()
    return any(
        not {"type", "anyOf", "$ref", "enum"} & schema.keys()
        or ('"type": "string"' in json.dumps(schema) and not {"enum", "pattern"} & schema.keys())
        for schema in schemas
    )


def canned() -> Canned:
    return Canned(up(spec(workers=2)))


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    # Stopped, it fails no probe: 503 is taken for a failure.
    pool = spec(workers=2, max_workers=9, min_ready=0, restart=AT_ONCE)
    with start_blocking_portal() as portal:
        serving = acting(FakeWorld(), tmp_path_factory.mktemp("schema"), pool, token=TOKEN)
        with portal.wrap_async_context_manager(serving) as stage:
            yield f"http://{stage.where.tcp}"


@schema.exclude(path=endless).parametrize()
@settings(max_examples=5, derandomize=True)  # some requests are called wrong that are right when sent
def test_an_operation_does_what_its_description_says(case: schemathesis.Case[Any], url: str) -> None:
    if str(case.query.get("follow")).lower() in {"1", "true"}:
        return  # streams end with the client, which here waits for the end: they are tried elsewhere
    told = json.loads(DOCUMENT)["paths"][case.path].get(case.method.lower(), {})  # a wrong method is tried too
    unsaid: list[Any] = [positive_data_acceptance] if takes_free_text(told) else []
    case.call_and_validate(base_url=url, headers={"Authorization": f"Bearer {TOKEN}"}, excluded_checks=unsaid)


async def test_the_description_is_served_with_what_is_configured(tmp_path: Path) -> None:
    async with served(canned().face(token=TOKEN), tmp_path) as where, where.unix_session() as client:
        answer = await client.get("/openapi.json")
        assert answer.content_type == "application/json"
        assert await answer.json() == json.loads(DOCUMENT)


def test_a_pool_to_be_added_may_have_the_table_of_any_backend() -> None:
    body = json.loads(DOCUMENT)["components"]["schemas"]["PoolBody"]
    assert {"backend", "celery", "huey"} <= body["properties"].keys()
    assert body["properties"]["command"]["description"].startswith("what a worker runs")


def test_every_route_is_described_once_with_all_its_answers() -> None:
    paths = json.loads(DOCUMENT)["paths"]
    told = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert told == {(route.method, route.path) for route in TABLE}
    assert len(TABLE) == len(told)
    for route in TABLE:
        responses = paths[route.path][route.method.lower()]["responses"]
        assert {str(status) for status in route.answers} <= set(responses)
        assert ("401" in responses) == (route.access != "open")
