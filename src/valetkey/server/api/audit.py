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
from valetkey.server.audit.model import MAX_INTEGER
from valetkey.server.audit.sight import Viewer, Wanted
from valetkey.server.errors import Conflict, NotFound
from valetkey.server.principals.model import Agent
from valetkey.server.services import Services
from valetkey.server.tokens.keys import TOKENS
from valetkey.server.trail.look import look, one, read_wanted, shown, viewer_of
from valetkey.verify.keys import Algorithm

AUDIT = Listing("audit")
NDJSON = "application/x-ndjson"


Word = Annotated[str, msgspec.Meta(max_length=128, description="Only records about this one.")]


class Rotate(msgspec.Struct, forbid_unknown_fields=True):
    algorithm: Algorithm = "ES256"
    at_once: bool = False


Number = Annotated[int, msgspec.Meta(ge=1, le=MAX_INTEGER, description="The number of a checkpoint of this node.")]
Later = Annotated[int, msgspec.Meta(ge=0, le=MAX_INTEGER, description="A later one; 0 for the newest.")]


class Between(msgspec.Struct, forbid_unknown_fields=True):
    earlier: Number = msgspec.field(name="from")
    later: Later = msgspec.field(name="to", default=0)


class Records(msgspec.Struct, forbid_unknown_fields=True):
    limit: Annotated[int, msgspec.Meta(ge=1, le=500, description="How many records at most.")] = 50
    cursor: Cursor = ""
    since: Annotated[str, msgspec.Meta(max_length=40, description="Not before this time.")] = ""
    until: Annotated[str, msgspec.Meta(max_length=40, description="Before this time.")] = ""
    event: Word = ""
    user: Word = ""
    agent: Word = ""
    task: Word = ""
    delegation: Word = ""
    connection: Word = ""
    integration: Word = ""
    decision: Annotated[str, msgspec.Meta(max_length=128, description="allowed, denied or held.")] = ""
    reason: Annotated[str, msgspec.Meta(max_length=128, description="Why it was denied.")] = ""


async def records(
    services: Services, caller: Caller, request: Request, page: Records
) -> answers.Listed[answers.AuditRecord]:
    viewer = await _viewer(services, caller)
    before = AUDIT.after(services, caller, page.cursor)
    asked = {name: getattr(page, name) for name in Wanted.__dataclass_fields__}
    looked = await look(services, viewer, read_wanted(Wanted(**asked)), before=before, limit=page.limit)
    cursor = AUDIT.going_on(services, caller, looked.before) if looked.before else None
    return listed([cast(answers.AuditRecord, shown(seen)) for seen in looked.found], cursor)


async def record(services: Services, caller: Caller, request: Request) -> answers.AuditRecord:
    seen, _ = await one(services, await _viewer(services, caller), request.path_params["id"])
    return cast(answers.AuditRecord, shown(seen))


async def inclusion(services: Services, caller: Caller, request: Request) -> answers.InclusionProof:
    seen, line = await one(services, await _viewer(services, caller), request.path_params["id"])
    return cast(answers.InclusionProof, await services.prove.inclusion(seen.record, line))


async def consistency(
    services: Services, caller: Caller, request: Request, between: Between
) -> answers.ConsistencyProof:
    _may_read(caller)
    return cast(answers.ConsistencyProof, await services.prove.consistency(between.earlier, between.later))


async def _viewer(services: Services, caller: Caller) -> Viewer:
    """Who looks: `may_see` says what is theirs to see. Agents see nothing."""
    caller.may("audit:read")
    assert not isinstance(caller.principal, Agent)  # refused by the line above
    return await viewer_of(services, caller.principal)


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
            summary="The newest records of the trail first; for who does not see the organization, what concerns them",
            query=Records,
            answer=answers.Listed[answers.AuditRecord],
            scopes=reads,
        ),
        route(
            services,
            "/v1/audit/records/{id}",
            "GET",
            record,
            summary="One record of the trail",
            answer=answers.AuditRecord,
            scopes=reads,
        ),
        route(
            services,
            "/v1/audit/records/{id}/proof",
            "GET",
            inclusion,
            summary="That this record is under the newest signed checkpoint: a proof that stands alone",
            answer=answers.InclusionProof,
            scopes=reads,
            refuses=(Conflict,),
        ),
        route(
            services,
            "/v1/audit/consistency",
            "GET",
            consistency,
            summary="That one signed checkpoint of this node continues another: a proof that stands alone",
            query=Between,
            answer=answers.ConsistencyProof,
            scopes=reads,
            refuses=(Conflict, NotFound),
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
