"""/v1/audit: the trail, its export, the checkpoints, and the key they are verified with; and /v1/keys."""

from collections.abc import AsyncIterator
from typing import Annotated, cast

import msgspec
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Route

from valetkey.server.api import answers
from valetkey.server.api.door import Caller, listed, route
from valetkey.server.api.paging import Cursor, Listing
from valetkey.server.audit.find import newest
from valetkey.server.audit.model import AuditRecord
from valetkey.server.services import Services
from valetkey.server.tokens.keys import TOKENS
from valetkey.verify.keys import Algorithm

AUDIT = Listing("audit")
NDJSON = "application/x-ndjson"


class Rotate(msgspec.Struct, forbid_unknown_fields=True):
    algorithm: Algorithm = "ES256"
    at_once: bool = False


class Records(msgspec.Struct, forbid_unknown_fields=True):
    limit: Annotated[int, msgspec.Meta(ge=1, le=500, description="How many records at most.")] = 50
    cursor: Cursor = ""


async def records(
    services: Services, caller: Caller, request: Request, page: Records
) -> answers.Listed[answers.AuditRecord]:
    _may_read(caller)
    before = AUDIT.after(services, caller, page.cursor)
    async with services.database.read() as db:
        found = await newest(db, caller.org, before=before, limit=page.limit + 1)
    rows, cursor = AUDIT.cut(services, caller, found, page.limit)
    return listed([_shown(record) for record in rows], cursor)


def _shown(r: AuditRecord) -> answers.AuditRecord:
    fixed = {"id": r.id, "writer": r.writer, "seq": r.seq, "time": r.time, "event": r.event}
    return cast(answers.AuditRecord, {**fixed, **r.members})


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


async def pin(services: Services, caller: Caller, request: Request) -> answers.Pin:
    caller.may("audit:read")
    return {"pin": services.keys.pin()}


async def keys(services: Services, caller: Caller, request: Request) -> answers.Listed[answers.SigningKey]:
    caller.administrator()
    return listed(_keys(services))


async def rotate(services: Services, caller: Caller, request: Request, body: Rotate) -> answers.SigningKey:
    caller.administrator()
    kid = await services.keys.rotate(TOKENS, body.algorithm, at_once=body.at_once)
    return next(row for row in _keys(services) if row["kid"] == kid)


def _keys(services: Services) -> list[answers.SigningKey]:
    return cast(list[answers.SigningKey], services.keys.listed())


def _may_read(caller: Caller) -> None:
    caller.may("audit:read")
    if not caller.sees_all:
        caller.administrator()


def routes(services: Services) -> list[Route]:
    reads = ("audit:read",)
    return [
        route(
            services,
            "/v1/audit",
            "GET",
            records,
            summary="The newest records of the trail first",
            query=Records,
            answer=answers.Listed[answers.AuditRecord],
            scopes=reads,
        ),
        route(
            services,
            "/v1/audit/export",
            "GET",
            export,
            summary="Every line of the trail as it was written",
            media=NDJSON,
            scopes=reads,
        ),
        route(
            services,
            "/v1/audit/checkpoints",
            "GET",
            checkpoints,
            summary="The signed checkpoints of this node",
            media=NDJSON,
            scopes=reads,
        ),
        route(
            services,
            "/v1/audit/key",
            "GET",
            pin,
            summary="The key checkpoints are verified with",
            answer=answers.Pin,
            scopes=reads,
        ),
        route(
            services,
            "/v1/keys",
            "GET",
            keys,
            summary="The signing keys, without their private parts",
            answer=answers.Listed[answers.SigningKey],
        ),
        route(
            services,
            "/v1/keys/rotate",
            "POST",
            rotate,
            summary="A new key for tokens; with at_once the old ones are withdrawn",
            body=Rotate,
            answer=answers.SigningKey,
        ),
    ]
