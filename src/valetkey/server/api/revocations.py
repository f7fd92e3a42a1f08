"""/v1/revocations: end any node of the tree, for whom it is theirs to end."""

from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request
from starlette.routing import Route

from valetkey.server.api.door import Caller, body_of, route
from valetkey.server.audit.find import issued_token
from valetkey.server.connections import store as connections
from valetkey.server.delegations import store as delegations
from valetkey.server.errors import InvalidRequest, NotFound
from valetkey.server.ids import is_id
from valetkey.server.principals import store as principals
from valetkey.server.principals.model import Agent, ServiceAccount, User
from valetkey.server.revocation.revoke import revoke
from valetkey.server.services import Services


class Revocation(msgspec.Struct, forbid_unknown_fields=True):
    node: str
    reason: str = ""


async def create(services: Services, caller: Caller, request: Request) -> dict[str, Any]:
    body = await body_of(request, Revocation)
    if not is_id(body.node):
        raise InvalidRequest("This is not an id of anything that can be revoked.")
    if len(body.reason) > 500 or not body.reason.isprintable():
        raise InvalidRequest("The reason has at most 500 printable characters.")
    async with services.database.read() as db:
        if not await _is_theirs(db, caller, body.node):
            raise NotFound("There is no such thing, or it is not yours.")
    report = await revoke(
        body.node,
        org=caller.org,
        by=caller.principal.id,
        reason=body.reason,
        journal=services.journal,
        clock=services.clock,
        hops=services.hops,
    )
    return {
        "node": report.node,
        "seq": report.seq,
        "already": report.already,
        "hops": [{"hop": h.hop, "outcome": h.outcome.value, "detail": h.detail} for h in report.hops],
    }


async def _is_theirs(db: AsyncConnection, caller: Caller, node: str) -> bool:
    """Whether `caller` may end `node`: its user, its agent for its own task or token, or who manages the organization.

    What belongs to another organization does not exist.
    """
    principal = caller.principal
    manages = isinstance(principal, User) and principal.is_administrator
    if isinstance(principal, ServiceAccount):
        caller.may("revocations:write")
        manages = True
    owners = await _owners(db, node)
    if owners is None or owners[0] != caller.org:
        return False
    if isinstance(principal, Agent):
        return node[:4] in ("tsk_", "tok_") and principal.id in owners[1]
    return manages or principal.id in owners[1]


async def _owners(db: AsyncConnection, node: str) -> tuple[str, frozenset[str]] | None:
    """The organization of a node and the principals whose it is; None for what does not exist."""
    match node[:4]:
        case "org_":
            return node, frozenset()
        case "usr_":
            user = await principals.user(db, node)
            return None if user is None else (user.org, frozenset({user.id}))
        case "agt_":
            agent = await principals.agent(db, node)
            return None if agent is None else (agent.org, frozenset({agent.owner}))
        case "svc_":
            account = await principals.service_account(db, node)
            return None if account is None else (account.org, frozenset())
        case "con_":
            found = await connections.connection(db, node)
            if found is None:
                return None
            return found.facts.org, frozenset({found.facts.owner} - {None})  # type: ignore[arg-type]
        case "dlg_":
            delegation = await delegations.delegation(db, node)
            return None if delegation is None else (delegation.org, frozenset({delegation.user}))
        case "tsk_":
            lineage = await delegations.lineage(db, node)
            above = await delegations.delegation(db, lineage[0].delegation) if lineage else None
            if above is None:
                return None
            return above.org, frozenset({above.user, *(t.agent for t in lineage)})
        case "tok_":
            return await _token_owners(db, node)
        case _:
            return None


async def _token_owners(db: AsyncConnection, node: str) -> tuple[str, frozenset[str]] | None:
    credential_of = await principals.credential_owner(db, node)
    if credential_of is not None:
        user = await principals.user(db, credential_of)
        return None if user is None else (user.org, frozenset({user.id}))
    issued = await issued_token(db, node)
    return None if issued is None else (issued.org, frozenset({issued.user, *issued.agents}))


def routes(services: Services) -> list[Route]:
    return [route(services, "/v1/revocations", "POST", create, status=201)]
