"""/v1/revocations: end any node of the tree, for whom it is theirs to end."""

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.routing import Route

from valetkey.server.api.door import Caller, body_of, route
from valetkey.server.endings import end
from valetkey.server.principals.model import ServiceAccount
from valetkey.server.services import Services


class Revocation(msgspec.Struct, forbid_unknown_fields=True):
    node: str
    reason: str = ""


async def create(services: Services, caller: Caller, request: Request) -> dict[str, Any]:
    body = await body_of(request, Revocation)
    if isinstance(caller.principal, ServiceAccount):
        caller.may("revocations:write")
    report = await end(services, body.node, by=caller.principal, reason=body.reason)
    return {
        "node": report.node,
        "seq": report.seq,
        "already": report.already,
        "hops": [{"hop": h.hop, "outcome": h.outcome.value, "detail": h.detail} for h in report.hops],
    }


def routes(services: Services) -> list[Route]:
    return [route(services, "/v1/revocations", "POST", create, status=201)]
