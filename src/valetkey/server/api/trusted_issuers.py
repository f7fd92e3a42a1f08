"""/v1/trusted-issuers: platforms whose tokens mean an agent of ours, and identity providers that vouch for people."""

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.routing import Route

from valetkey.server.api import agents, answers
from valetkey.server.api.door import Caller, listed, route
from valetkey.server.api.paging import Listing, Page
from valetkey.server.errors import Conflict, NotFound
from valetkey.server.ids import new_id
from valetkey.server.principals.issuers import store
from valetkey.server.principals.issuers.model import IssuerKind, Rule, Trust, TrustedIssuer
from valetkey.server.services import Services

ISSUERS = Listing("trusted-issuers")


class NewRule(msgspec.Struct, forbid_unknown_fields=True):
    agent: str
    claims: dict[str, str]


class NewIssuer(msgspec.Struct, forbid_unknown_fields=True):
    issuer: str
    kind: IssuerKind
    jwks_uri: str | None = None
    jwks: dict[str, Any] | None = None
    audience: str | None = None
    token_endpoint_audience: bool = False
    tenant: dict[str, str] = {}
    rules: list[NewRule] = []


def shown(issuer: TrustedIssuer) -> answers.TrustedIssuer:
    """A trusted issuer, as the API shows one."""
    return {
        "id": issuer.id,
        "issuer": issuer.issuer,
        "kind": issuer.kind,
        "keys": issuer.jwks_uri or "pasted",
        "audience": issuer.trust.audience,
        "token_endpoint_audience": issuer.trust.at_token_endpoint,
        "tenant": dict(issuer.trust.tenant),
        "rules": [{"agent": rule.agent, "claims": dict(rule.claims)} for rule in issuer.trust.rules],
    }


async def create(services: Services, caller: Caller, request: Request, body: NewIssuer) -> answers.TrustedIssuer:
    by = caller.administrator()
    rules = [
        Rule(agent=(await agents.named(services, caller, rule.agent)).id, claims=rule.claims) for rule in body.rules
    ]
    issuer = TrustedIssuer(
        id=new_id("iss"),
        org=by.org,
        issuer=body.issuer,
        kind=body.kind,
        jwks_uri=body.jwks_uri,
        jwks=None if body.jwks is None else msgspec.json.encode(body.jwks).decode(),
        trust=Trust(
            audience=services.settings.issuer if body.audience is None else body.audience,
            at_token_endpoint=body.token_endpoint_audience,
            tenant=body.tenant,
            rules=tuple(rules),
        ),
        created_by=by.id,
        created_at=0,
    )
    return shown(await services.trusting.add(issuer, by=by))


async def issuers(
    services: Services, caller: Caller, request: Request, page: Page
) -> answers.Listed[answers.TrustedIssuer]:
    caller.administrator()
    after = ISSUERS.after(services, caller, page.cursor)
    async with services.database.read() as db:
        found = await store.of_org(db, caller.org, after=after, limit=page.limit + 1)
    rows, cursor = ISSUERS.cut(services, caller, found, page.limit)
    return listed([shown(issuer) for issuer in rows], cursor)


async def remove(services: Services, caller: Caller, request: Request) -> answers.TrustedIssuer:
    by = caller.administrator()
    return shown(await services.trusting.remove(request.path_params["id"], by=by))


def routes(services: Services) -> list[Route]:
    return [
        route(
            services,
            "/v1/trusted-issuers",
            "POST",
            create,
            status=201,
            summary="Believe a platform or an identity provider",
            body=NewIssuer,
            answer=answers.TrustedIssuer,
            refuses=(Conflict, NotFound),
        ),
        route(
            services,
            "/v1/trusted-issuers",
            "GET",
            issuers,
            summary="Who is believed",
            query=Page,
            answer=answers.Listed[answers.TrustedIssuer],
        ),
        route(
            services,
            "/v1/trusted-issuers/{id}",
            "DELETE",
            remove,
            summary="Believe an issuer no more",
            answer=answers.TrustedIssuer,
        ),
    ]
