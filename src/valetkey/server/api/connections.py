"""/v1/integrations, /v1/connections and the entitlements over shared ones."""

from typing import Literal

import msgspec
from starlette.requests import Request
from starlette.routing import Route

from valetkey.server.api import answers
from valetkey.server.api.described import GrantText
from valetkey.server.api.door import Caller, listed, route, same_org
from valetkey.server.api.paging import Listing, Page
from valetkey.server.audit.model import Event
from valetkey.server.connections import store
from valetkey.server.connections.model import AppInstallation, RoleKey, checked_name
from valetkey.server.connections.refreshing import store as refreshing
from valetkey.server.connections.residual import Permission, residual
from valetkey.server.connections.status import Status, statuses
from valetkey.server.delegations.grants import grant_text, parse_grants
from valetkey.server.delegations.store import add_entitlement
from valetkey.server.errors import Conflict, ConnectionRequired, InvalidRequest, NotFound, UpstreamFailed
from valetkey.server.ids import new_id
from valetkey.server.integrations.databases import DATABASES
from valetkey.server.policy.model import ConnectionFacts
from valetkey.server.principals.model import User
from valetkey.server.principals.store import user_by_email
from valetkey.server.secret import Secret
from valetkey.server.services import Services
from valetkey.server.tokens.doors import gateway_address

CONNECTIONS = Listing("connections")


class NewConnection(msgspec.Struct, forbid_unknown_fields=True):
    """`credential` is the account's own; of an installed app, which is always shared, the app's private key; of a role,
    which is shared too, the secret of the access key. A role with an `audience` has none: it is taken on by tokens of
    this server."""

    integration: str
    credential: str = ""
    name: str | None = None
    shared: bool = False
    app_id: str | None = None
    installation_id: str | None = None
    role_arn: str | None = None
    access_key_id: str | None = None
    audience: str | None = None
    everybody: Literal["refuse", "revoke", "keep"] | None = None
    """Of a database: what becomes of rights that everybody has there without being granted them."""


class NewEntitlement(msgspec.Struct, forbid_unknown_fields=True):
    user: str
    grants: list[GrantText]


def shown(facts: ConnectionFacts, *, status: Status, last_used_at: int | None = None) -> answers.Connection:
    """A connection, as the API shows one: the real account, never the credential."""
    return {
        "id": facts.id,
        "integration": facts.integration,
        "name": facts.name,
        "account": facts.account,
        "owner": facts.owner,
        "shared": facts.owner is None,
        "base_url": facts.base_url,
        "generation": facts.generation,
        "last_used_at": last_used_at,
        "status": status,
    }


async def integrations(services: Services, caller: Caller, request: Request) -> answers.Listed[answers.Integration]:
    return listed(
        [
            {
                "name": i.name,
                "title": i.title,
                "audience": i.audience,
                "base_url": i.base_url,
                "gateway": "" if i.is_registered else gateway_address(services.settings.gateway, i.name),
                "addresses": []
                if i.is_registered
                else [
                    {"address": address, "gateway": gateway_address(services.settings.gateway, i.name) + below}
                    for address, below in i.known_at
                ],
                "scopes": [{"name": s.name, "sentence": s.sentence, "tier": s.tier} for s in i.scopes.values()],
            }
            for i in services.catalogue.values()
            if i.is_seen_by(caller.org)
        ]
    )


async def create(services: Services, caller: Caller, request: Request, body: NewConnection) -> answers.Connection:
    checked_name(body.name)
    credential = Secret(body.credential)
    if body.integration in DATABASES:
        facts = await services.databases.connect(
            body.integration, credential, name=body.name, public=body.everybody or "refuse", by=caller.user()
        )
    elif any(said is not None for said in (body.role_arn, body.access_key_id, body.audience)):
        if body.app_id is not None or body.installation_id is not None:
            raise InvalidRequest("An account is connected by an app or by a role, not by both.")
        role = RoleKey(arn=body.role_arn or "", access_key=body.access_key_id or "", audience=body.audience or "")
        facts = await services.link.take_on(body.integration, role, credential, name=body.name, by=caller.user())
    elif body.app_id is not None or body.installation_id is not None:
        installed = AppInstallation(app=body.app_id or "", installation=body.installation_id or "")
        facts = await services.link.install(body.integration, installed, credential, name=body.name, by=caller.user())
    else:
        facts = await services.link.paste(
            body.integration, credential, name=body.name, shared=body.shared, by=caller.user()
        )
    return shown(facts, status="linked")


async def connections(
    services: Services, caller: Caller, request: Request, page: Page
) -> answers.Listed[answers.Connection]:
    caller.may("connections:read")
    after = CONNECTIONS.after(services, caller, page.cursor)
    async with services.database.read() as db:
        usable = await store.usable_by(db, org=caller.org, user=caller.principal.id, after=after, limit=page.limit + 1)
        status = await statuses(db, [c.facts.id for c in usable])
        used = await store.last_used(db, [c.facts.id for c in usable])
    rows, cursor = CONNECTIONS.cut(services, caller, [c.facts for c in usable], page.limit)
    return listed([shown(facts, status=status[facts.id], last_used_at=used.get(facts.id)) for facts in rows], cursor)


async def rotate(services: Services, caller: Caller, request: Request) -> answers.Connection:
    by = caller.administrator()
    await services.rotate_database.rotate(request.path_params["id"], by=by)
    async with services.database.read() as db:
        found = await store.connection(db, request.path_params["id"])
        facts = same_org(found.facts if found is not None else None, caller, "connection")
    return shown(facts, status="linked")


async def entitle(services: Services, caller: Caller, request: Request, body: NewEntitlement) -> answers.Entitlement:
    by = caller.administrator()
    async with services.database.read() as db:
        found = await store.connection(db, request.path_params["id"])
        facts = same_org(found.facts if found is not None else None, caller, "connection")
        user: User = same_org(await user_by_email(db, caller.org, body.user.lower()), caller, "user")
    if facts.owner is not None:
        raise NotFound("There is no such shared connection.")
    grants = parse_grants(body.grants)
    if not grants or any(g.integration != facts.integration for g in grants):
        raise InvalidRequest(f"Write entitlements as {facts.integration}:scope@resource.")
    bound = [await services.lookups.bind(facts, grant) for grant in grants]
    now = int(services.clock.now())
    async with services.journal.change() as change:
        for grant in bound:
            await add_entitlement(
                change.tx,
                id=new_id("pol"),
                org=caller.org,
                user=user.id,
                connection=facts.id,
                grant=grant,
                by=by.id,
                now=now,
            )
        await change.touches(user.id)
        change.record(
            Event.ENTITLEMENT_RECORDED,
            caller.org,
            user=user.id,
            connection=facts.id,
            grants=[grant_text(g) for g in bound],
            by=by.id,
        )
    return {"user": user.email, "connection": facts.id, "grants": body.grants}


async def why(services: Services, caller: Caller, request: Request) -> answers.Residual:
    user = caller.user()
    async with services.database.read() as db:
        found = await store.connection(db, request.path_params["id"])
        facts = same_org(found.facts if found is not None else None, caller, "connection")
        row = (await refreshing.rows(db, [facts.id])).get(facts.id)
    if found is None or facts.owner not in (user.id, None):
        raise NotFound("There is no such connection, or it is not yours.")
    report = residual(found, row, services.catalogue[facts.integration])
    return {
        "connection": facts.id,
        "integration": facts.integration,
        "account": facts.account,
        "asked": [_permission(p) for p in report.asked],
        "granted": [_permission(p) for p in report.granted],
        "could_do": report.could_do,
        "for_how_long": report.for_how_long,
        "held_back_by": report.held_back_by,
        "why": report.why,
    }


def _permission(permission: Permission) -> answers.Permission:
    return {"name": permission.name, "sentence": permission.sentence, "tier": permission.tier}


def routes(services: Services) -> list[Route]:
    return [
        route(
            services,
            "/v1/integrations",
            "GET",
            integrations,
            summary="The APIs that can be delegated, with their scopes",
            answer=answers.Listed[answers.Integration],
        ),
        route(
            services,
            "/v1/connections",
            "POST",
            create,
            status=201,
            summary="Connect an account by its own credential, which is sealed and never shown again",
            body=NewConnection,
            answer=answers.Connection,
            refuses=(NotFound, Conflict, UpstreamFailed),
        ),
        route(
            services,
            "/v1/connections",
            "GET",
            connections,
            summary="Your connected accounts and the shared ones",
            query=Page,
            answer=answers.Listed[answers.Connection],
            scopes=("connections:read",),
        ),
        route(
            services,
            "/v1/connections/{id}/why",
            "GET",
            why,
            summary="What the stored credential could do if it leaked, and who stands in between",
            answer=answers.Residual,
            refuses=(NotFound,),
        ),
        route(
            services,
            "/v1/connections/{id}/rotate",
            "POST",
            rotate,
            summary="Change the password of a database's connected login, which nobody then knows",
            answer=answers.Connection,
            refuses=(NotFound, Conflict, ConnectionRequired, UpstreamFailed),
        ),
        route(
            services,
            "/v1/connections/{id}/entitlements",
            "POST",
            entitle,
            status=201,
            summary="Let a person delegate part of a shared account",
            body=NewEntitlement,
            answer=answers.Entitlement,
            refuses=(ConnectionRequired, UpstreamFailed),
        ),
    ]
