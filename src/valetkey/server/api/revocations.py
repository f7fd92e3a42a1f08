"""/v1/revocations: end any node of the tree, for whom it is theirs to end."""

import msgspec
from starlette.requests import Request
from starlette.routing import Route

from valetkey.server.api import answers
from valetkey.server.api.door import Caller, route
from valetkey.server.endings import end
from valetkey.server.errors import NotFound
from valetkey.server.principals.model import ServiceAccount
from valetkey.server.services import Services


class NewRevocation(msgspec.Struct, forbid_unknown_fields=True):
    node: str
    reason: str = ""


async def create(services: Services, caller: Caller, request: Request, body: NewRevocation) -> answers.Revocation:
    if isinstance(caller.principal, ServiceAccount):
        caller.may("revocations:write")
    report = await end(services, body.node, by=caller.principal, reason=body.reason)
    return {
        "node": report.node,
        "seq": report.seq,
        "already": report.already,
        "hops": [{"hop": h.hop, "outcome": h.outcome, "detail": h.detail} for h in report.hops],
    }


def routes(services: Services) -> list[Route]:
    return [
        route(
            services,
            "/v1/revocations",
            "POST",
            create,
            status=201,
            summary="End anything by its id, and all that is under it, now and for good",
            body=NewRevocation,
            answer=answers.Revocation,
            scopes=("revocations:write",),
            refuses=(NotFound,),
        )
    ]
