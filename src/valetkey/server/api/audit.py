"""/v1/audit: the trail, its export, the checkpoints, and the key they are verified with; and /v1/keys."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Route

from valetkey.server.api.door import Caller, body_of, listed, route
from valetkey.server.audit.find import newest
from valetkey.server.errors import InvalidRequest
from valetkey.server.ids import is_id
from valetkey.server.services import Services
from valetkey.server.tokens.keys import TOKENS, algorithm_named

NDJSON = "application/x-ndjson"


class Rotate(msgspec.Struct, forbid_unknown_fields=True):
    algorithm: str = "ES256"
    at_once: bool = False


async def records(services: Services, caller: Caller, request: Request) -> dict[str, Any]:
    _may_read(caller)
    limit, cursor = request.query_params.get("limit", "50"), request.query_params.get("cursor", "")
    if not (limit.isascii() and limit.isdigit() and 1 <= int(limit) <= 500):
        raise InvalidRequest("limit is between 1 and 500.")
    if cursor and not is_id(cursor, "aud"):
        raise InvalidRequest("The cursor is not one this server gave.")
    async with services.database.read() as db:
        found = await newest(db, caller.org, before=cursor, limit=int(limit) + 1)
    has_more = len(found) > int(limit)
    found = found[: int(limit)]
    rows = [
        {"id": r.id, "writer": r.writer, "seq": r.seq, "time": r.time, "event": r.event, **r.members} for r in found
    ]
    return {"data": rows, "next_cursor": found[-1].id if has_more else None, "has_more": has_more}


async def export(services: Services, caller: Caller, request: Request) -> Response:
    _may_read(caller)

    async def lines() -> AsyncIterator[bytes]:
        async for line in services.journal.export():
            yield line + b"\n"

    return StreamingResponse(lines(), media_type=NDJSON)


async def checkpoints(services: Services, caller: Caller, request: Request) -> Response:
    _may_read(caller)
    if not services.checkpoints.exists():
        return Response(b"", media_type=NDJSON)
    return FileResponse(services.checkpoints, media_type=NDJSON)


async def pin(services: Services, caller: Caller, request: Request) -> dict[str, Any]:
    caller.may("audit:read")
    return {"pin": services.keys.pin()}


async def keys(services: Services, caller: Caller, request: Request) -> dict[str, Any]:
    caller.administrator()
    return listed(services.keys.listed())


async def rotate(services: Services, caller: Caller, request: Request) -> dict[str, Any]:
    body = await body_of(request, Rotate)
    caller.administrator()
    kid = await services.keys.rotate(TOKENS, algorithm_named(body.algorithm), at_once=body.at_once)
    return next(row for row in services.keys.listed() if row["kid"] == kid)


def _may_read(caller: Caller) -> None:
    caller.may("audit:read")
    if not caller.sees_all:
        caller.administrator()


def routes(services: Services) -> list[Route]:
    return [
        route(services, "/v1/audit", "GET", records),
        route(services, "/v1/audit/export", "GET", export),
        route(services, "/v1/audit/checkpoints", "GET", checkpoints),
        route(services, "/v1/audit/key", "GET", pin),
        route(services, "/v1/keys", "GET", keys),
        route(services, "/v1/keys/rotate", "POST", rotate),
    ]
