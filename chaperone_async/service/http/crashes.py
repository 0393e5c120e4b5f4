"""Every death that is remembered, newest first."""

from aiohttp import web

from chaperone_async.service.http.answers import FACE, count_in_query, json_response


async def list_all(request: web.Request) -> web.Response:
    face = request.app[FACE]
    journal = face.supervisor.journal
    records = [record for name in face.supervisor.names for record in journal.crashes(name)]
    records.sort(key=lambda record: record.id, reverse=True)
    return json_response(face.views.crashes(records[: count_in_query(request, "limit")]))


async def list_of_pool(request: web.Request) -> web.Response:
    face = request.app[FACE]
    name = face.supervisor.runner(request.match_info["pool"]).pool.name
    records = face.supervisor.journal.crashes(name)
    return json_response(face.views.crashes(records[: count_in_query(request, "limit")]))


def routes() -> list[web.RouteDef]:
    return [web.get("/api/v1/crashes", list_all), web.get("/api/v1/pools/{pool}/crashes", list_of_pool)]
