"""Ending things: whose they are to end, and the one way every door ends them. The report says what each hop did."""

from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.audit.find import issued_token
from valetkey.server.connections import store as connections
from valetkey.server.credentials import store as leases
from valetkey.server.delegations import store as delegations
from valetkey.server.errors import InvalidRequest, NotFound
from valetkey.server.ids import is_id
from valetkey.server.integrations import store as integrations
from valetkey.server.principals import store as principals
from valetkey.server.principals.cli_login import store as cli_logins
from valetkey.server.principals.engines import store as engines
from valetkey.server.principals.model import Agent, ServiceAccount, User
from valetkey.server.revocation.revoke import Report, revoke
from valetkey.server.services import Services

Principal = User | Agent | ServiceAccount


async def end(services: Services, node: str, *, by: Principal, reason: str = "") -> Report:
    """End `node` and everything under it. What is not `by`'s to end does not exist."""
    if not is_id(node):
        raise InvalidRequest("This is not an id of anything that can be revoked.")
    if len(reason) > 500 or not reason.isprintable():
        raise InvalidRequest("The reason has at most 500 printable characters.")
    async with services.database.read() as db:
        if not await _is_theirs(db, by, node):
            raise NotFound("There is no such thing, or it is not yours.")
    return await revoke(
        node,
        org=by.org,
        by=by.id,
        reason=reason,
        journal=services.journal,
        clock=services.clock,
        hops=services.hops,
    )


async def _is_theirs(db: AsyncConnection, by: Principal, node: str) -> bool:
    """Whether `by` may end `node`: its user, its agent for its own task or token, or who manages the organization.

    What belongs to another organization does not exist.
    """
    owners = await _owners(db, node)
    if owners is None or owners[0] != by.org:
        return False
    match by:
        case Agent():
            return node[:4] in ("tsk_", "tok_", "lse_") and by.id in owners[1]
        case ServiceAccount():
            return True  # the door asked for the scope
        case User():
            return by.is_administrator or by.id in owners[1]


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
        case "eng_":
            engine = await engines.engine(db, node)
            return None if engine is None else (engine.org, frozenset())
        case "rsv_":
            server = await integrations.resource_server(db, node)
            return None if server is None else (server.org, frozenset())
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
        case "lse_":
            lease = await leases.lease(db, node)
            return None if lease is None else (lease.org, frozenset({lease.user, lease.agent}))
        case "tok_":
            return await _token_owners(db, node)
        case _:
            return None


async def _token_owners(db: AsyncConnection, node: str) -> tuple[str, frozenset[str]] | None:
    credential_of = await cli_logins.credential_owner(db, node)
    if credential_of is not None:
        user = await principals.user(db, credential_of)
        return None if user is None else (user.org, frozenset({user.id}))
    issued = await issued_token(db, node)
    return None if issued is None else (issued.org, frozenset({issued.user, *issued.agents}))
