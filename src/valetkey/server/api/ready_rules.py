"""/v1/policies/ready: the ready rules about where information flows, and whether they are off, observed or enforced."""

from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.routing import Route

from valetkey.server.api import answers
from valetkey.server.api.door import Caller, route
from valetkey.server.errors import InvalidRequest
from valetkey.server.policy.ready import DEFAULT, ReadyMode, text
from valetkey.server.policy.versions import store
from valetkey.server.services import Services


class ChosenMode(msgspec.Struct, forbid_unknown_fields=True):
    mode: ReadyMode
    why: Annotated[str, msgspec.Meta(max_length=200)] = ""


async def choose(services: Services, caller: Caller, request: Request, body: ChosenMode) -> answers.ReadyRules:
    caller.may("policy:write")
    if not caller.sees_all:
        caller.administrator()
    if not body.why.isprintable():
        raise InvalidRequest("why is one line of printable characters.")
    await services.policies.choose_ready(caller.org, body.mode, why=body.why, by=caller.principal.id)
    return await _shown(services, caller)


async def shown(services: Services, caller: Caller, request: Request) -> answers.ReadyRules:
    """Everybody may know what is recorded or asked of their agents."""
    caller.may("policy:write")
    return await _shown(services, caller)


async def _shown(services: Services, caller: Caller) -> answers.ReadyRules:
    async with services.database.read() as db:
        chosen = await store.ready_choice(db, caller.org)
    ready = services.policies.ready
    found: answers.ReadyRules = {
        "mode": DEFAULT if chosen is None else ReadyMode(chosen.text),
        "edition": ready.id,
        "rules": [{"id": rule.id, "effect": rule.effect.value, "why": rule.why} for rule in ready.rules],
        "text": text(),
    }
    if chosen is not None:
        found |= {"chosen_by": chosen.applied_by, "chosen_at": chosen.applied_at, "why": chosen.why}
    return found


def routes(services: Services) -> list[Route]:
    writes = ("policy:write",)
    return [
        route(
            services,
            "/v1/policies/ready",
            "GET",
            shown,
            summary="The ready rules, and whether they are off, observed or enforced",
            answer=answers.ReadyRules,
            scopes=writes,
        ),
        route(
            services,
            "/v1/policies/ready",
            "POST",
            choose,
            summary="Turn the ready rules off, observe them, or enforce them",
            body=ChosenMode,
            answer=answers.ReadyRules,
            scopes=writes,
        ),
    ]
