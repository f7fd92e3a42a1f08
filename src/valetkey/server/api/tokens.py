"""/v1/tokens: the plain twin of token exchange, and the sentence of a token."""

from typing import cast

import msgspec
from starlette.requests import Request
from starlette.routing import Route

from valetkey.server.api import answers
from valetkey.server.api.described import GrantText
from valetkey.server.api.door import Caller, route
from valetkey.server.credentials.issue import Ask
from valetkey.server.delegations.grants import parse_grants
from valetkey.server.delegations.sentence import sentence
from valetkey.server.errors import NotAuthenticated, Revoked
from valetkey.server.oauth.details import scopes_of
from valetkey.server.services import Services
from valetkey.server.tokens.explain import explained


class NewToken(msgspec.Struct, forbid_unknown_fields=True):
    task_token: str
    target: str
    scope: str | None = None
    grants: list[GrantText] = []
    seconds: int | None = None


class Explain(msgspec.Struct, forbid_unknown_fields=True):
    token: str


async def create(services: Services, caller: Caller, request: Request, body: NewToken) -> answers.Token:
    ask = Ask(
        target=body.target,
        scopes=scopes_of(body.scope or None),
        grants=parse_grants(body.grants),
        seconds=body.seconds,
    )
    issued = await services.issue.delegated(caller.agent_with_tasks(), body.task_token, ask, jkt=caller.jkt)
    made = {
        "token": issued.token,
        "token_type": issued.token_type,
        "id": issued.jti,
        "audience": issued.audience,
        "expires_in": issued.expires_in,
    }
    return cast(answers.Token, {**made, **issued.granted})


async def explain(services: Services, caller: Caller, request: Request, body: Explain) -> answers.Explanation:
    now = services.clock.now()
    found = explained(body.token, services.keys.public, issuer=services.settings.issuer, now=now)
    if found.claims is None or found.claims.get("org") != caller.org:
        raise NotAuthenticated("This is not a token of this server.", detail=found.reason)
    return {
        "valid": found.valid,
        "reason": found.reason,
        "claims": dict(found.claims),
        "sentence": sentence(
            chain=found.chain,
            user=found.user,
            grants=found.grants,
            expires_at=found.expires_at,
            now=now,
            catalogue=services.catalogue,
        ),
    }


def routes(services: Services) -> list[Route]:
    return [
        route(
            services,
            "/v1/tokens",
            "POST",
            create,
            status=201,
            summary="As an agent: a delegated credential for one API, under a task",
            body=NewToken,
            answer=answers.Token,
            refuses=(Revoked,),
        ),
        route(
            services,
            "/v1/tokens/explain",
            "POST",
            explain,
            summary="What a delegated credential says, as one sentence",
            body=Explain,
            answer=answers.Explanation,
        ),
    ]
