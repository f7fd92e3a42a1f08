"""/v1/leases: credentials of somebody else's that are out, narrowed by the API itself, and taken back at the end."""

import msgspec
from starlette.requests import Request
from starlette.routing import Route

from valetkey.server.api import answers
from valetkey.server.api.described import GrantText
from valetkey.server.api.door import Caller, listed, route
from valetkey.server.api.paging import Listing, Page
from valetkey.server.credentials import store
from valetkey.server.credentials.issue import Ask
from valetkey.server.credentials.lease import Lease
from valetkey.server.delegations.grants import grant_text, parse_grants
from valetkey.server.errors import ConnectionRequired, Revoked, UpstreamFailed
from valetkey.server.oauth.details import scopes_of
from valetkey.server.services import Services

LEASES = Listing("leases")


class NewLease(msgspec.Struct, forbid_unknown_fields=True):
    task_token: str
    target: str
    scope: str | None = None
    grants: list[GrantText] = []


def shown(lease: Lease) -> answers.Lease:
    """A lease, as the API shows one: never the credential."""
    return {
        "id": lease.id,
        "agent": lease.agent,
        "user": lease.user,
        "task": lease.task,
        "delegation": lease.delegation,
        "connection": lease.connection,
        "integration": lease.integration,
        "grants": [grant_text(line) for line in lease.lines],
        "status": lease.state.value,
        "credential_fingerprint": lease.fingerprint,
        "opened_at": lease.opened_at,
        "ends_at": lease.ends_at,
        "problem": lease.problem,
    }


async def create(services: Services, caller: Caller, request: Request, body: NewLease) -> answers.Lent:
    ask = Ask(target=body.target, scopes=scopes_of(body.scope or None), grants=parse_grants(body.grants))
    lent = await services.lend.lend(caller.agent_with_tasks(), body.task_token, ask, jkt=caller.jkt)
    return {
        "id": lent.lease.id,
        "credential": lent.credential.reveal(),
        "ends_at": lent.lease.ends_at,
        "grants": [grant_text(line) for line in lent.lease.lines],
    }


async def leases(services: Services, caller: Caller, request: Request, page: Page) -> answers.Listed[answers.Lease]:
    caller.may("delegations:read")
    user = None if caller.sees_all else caller.principal.id
    after = LEASES.after(services, caller, page.cursor)
    async with services.database.read() as db:
        found = await store.leases_of(db, org=caller.org, user=user, after=after, limit=page.limit + 1)
    rows, cursor = LEASES.cut(services, caller, found, page.limit)
    return listed([shown(lease) for lease in rows], cursor)


def routes(services: Services) -> list[Route]:
    return [
        route(
            services,
            "/v1/leases",
            "POST",
            create,
            status=201,
            summary="As an agent: a real credential that the API narrows itself, under a task; shown this once",
            body=NewLease,
            answer=answers.Lent,
            refuses=(Revoked, ConnectionRequired, UpstreamFailed),
        ),
        route(
            services,
            "/v1/leases",
            "GET",
            leases,
            summary="The credentials that are out, and were, the newest first",
            query=Page,
            answer=answers.Listed[answers.Lease],
            scopes=("delegations:read",),
        ),
    ]
