"""/v1/policies: the organization's policy by version; checking, applying, replaying one. /v1/decisions: why.

Applying a version's text again is how one goes back: what was in force stays on record.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from valetkey.server.api import answers
from valetkey.server.api.door import Caller, listed, route
from valetkey.server.api.paging import Listing, Page
from valetkey.server.audit import find
from valetkey.server.audit.store import pages
from valetkey.server.errors import Conflict, ConnectionRequired, Denied, InvalidRequest, NotFound, UpstreamFailed
from valetkey.server.gateway.foresee import Imagined
from valetkey.server.policy.model import WORDS, Ask, Deny, Reason
from valetkey.server.policy.replay import EVENTS, Replay, told
from valetkey.server.policy.versions import store
from valetkey.server.policy.versions.model import Version, compiled
from valetkey.server.principals import store as principals
from valetkey.server.principals.model import Agent
from valetkey.server.services import Services
from valetkey.server.trail.look import ready_choice, viewer_of

POLICIES = Listing("policies")
NDJSON = "application/x-ndjson"
SHOWN_CHANGES = 100

Text = Annotated[str, msgspec.Meta(description="The policy, as docs/policy.md describes it.")]


class NewPolicy(msgspec.Struct, forbid_unknown_fields=True):
    text: Text
    after: Annotated[int, msgspec.Meta(ge=0, description="The number of the version it was made from; 0: none.")]
    why: Annotated[str, msgspec.Meta(max_length=200)] = ""


class PolicyText(msgspec.Struct, forbid_unknown_fields=True):
    text: Text


class ReplayedPolicy(msgspec.Struct, forbid_unknown_fields=True):
    text: Text
    seconds: Annotated[int, msgspec.Meta(ge=1, description="How far back from now.")]


class ForeseenCall(msgspec.Struct, forbid_unknown_fields=True):
    task: str
    integration: str
    method: str
    path: Annotated[str, msgspec.Meta(max_length=8192, description="Below the API's address, from /, with its query.")]
    body: Annotated[str, msgspec.Meta(max_length=262_144)] = ""
    content_type: Annotated[str, msgspec.Meta(max_length=200, pattern="^[ -~]*$")] = ""


async def apply(services: Services, caller: Caller, request: Request, body: NewPolicy) -> answers.Policy:
    by = _writes(caller)
    if not body.why.isprintable():
        raise InvalidRequest("why is one line of printable characters.")
    version = await services.policies.apply(caller.org, body.text, after=body.after, why=body.why, by=by)
    return _shown(version)


async def check(services: Services, caller: Caller, request: Request, body: PolicyText) -> answers.CheckedPolicy:
    _writes(caller)
    return {"rules": await services.policies.checked(body.text)}


async def policies(services: Services, caller: Caller, request: Request, page: Page) -> answers.Listed[answers.Policy]:
    _writes(caller)
    after = POLICIES.after(services, caller, page.cursor)
    async with services.database.read() as db:
        found = await store.versions_of(db, caller.org, after=after, limit=page.limit + 1)
    rows, cursor = POLICIES.cut(services, caller, found, page.limit)
    return listed([_shown(version) for version in rows], cursor)


async def policy(services: Services, caller: Caller, request: Request) -> answers.Policy:
    _writes(caller)
    name = str(request.path_params["id"])
    async with services.database.read() as db:
        if name.isascii() and name.isdecimal() and len(name) < 9:
            found = await store.by_number(db, caller.org, int(name))
        else:
            found = await store.by_id(db, caller.org, name)
    if found is None:
        raise NotFound("There is no such version of the policy.")
    return _shown(found) | {"text": found.text}


async def explain(services: Services, caller: Caller, request: Request) -> answers.ExplainedDecision:
    """Whoever the call was made for may ask; so may who reads the whole trail."""
    ready = services.policies.ready
    if isinstance(caller.principal, Agent):
        raise Denied("An agent cannot do this.", reason="agent")
    async with services.database.read() as db:
        record = await find.by_id(db, caller.org, str(request.path_params["id"]))
        sees = caller.sees_all or (record is not None and record.members.get("user") == caller.principal.id)
        if record is None or record.event not in EVENTS or not sees:
            raise NotFound("There is no such decision, or it was not made for you.")
        members: dict[str, Any] = dict(record.members)
        reason = Reason(members.get("reason", "allowed"))
        named = [str(one) for one in members.get("rules", [])]
        words = [WORDS[reason]]
        for version_id in members.get("policies", []):
            version = await store.by_id(db, caller.org, version_id)
            if version is not None:
                layer = compiled(version.text, services.catalogue, id=version.id)
                words += [f"Rule {c.id}: {c.why}" for rule in named if (c := layer.clause(rule)) is not None and c.why]
    observed = [str(one) for one in members.get("observed", [])]
    if ready.id in members.get("policies", []):
        spoken = {*named, *(one.partition(":")[2] for one in observed)}
        words += [rule.words for rule in ready.rules if rule.id in spoken]
    said: answers.ExplainedDecision = {
        "decision": record.id,
        "event": record.event,
        "words": " ".join([f"{told(members)}:", *words]),
        "policies": [str(one) for one in members.get("policies", [])],
        "rules": named,
        "observed": observed,
    }
    if chosen := await ready_choice(services, await viewer_of(services, caller.principal), record):
        said["chosen"] = chosen
    return said


async def foresee(services: Services, caller: Caller, request: Request, body: ForeseenCall) -> answers.ForeseenDecision:
    imagined = Imagined(
        integration=body.integration,
        method=body.method,
        path=body.path,
        body=body.body.encode(),
        content_type=body.content_type,
    )
    calls, decision = await services.foresee(imagined, body.task, caller.user())
    said: answers.ForeseenDecision = {
        "decision": "allow",
        "reason": "",
        "words": "It would be allowed.",
        "calls": [f"{call.operation.id} on {call.resource or 'the account'}" for call in calls],
        "connection": calls[0].connection,
        "policies": list(decision.ruled.policies),
        "rules": list(decision.ruled.rules),
        "observed": list(decision.ruled.observed),
    }
    if isinstance(decision, Ask):
        return said | {"decision": "ask", "reason": Reason.ASKS.value, "words": decision.words}
    if isinstance(decision, Deny):
        return said | {"decision": "deny", "reason": decision.reason.value, "words": decision.words}
    return said


async def replay(services: Services, caller: Caller, request: Request, body: ReplayedPolicy) -> Response:
    """Lines: what changes as it is found (at most a hundred are shown), how far it is, and the counts at the end."""
    caller.may("audit:read")  # nothing is applied by it, and what it shows is the trail
    if not caller.sees_all:
        caller.administrator()
    async with services.database.read() as db:
        names = {u.id: u.email for u in await principals.everyone(db) if u.org == caller.org}
        names |= {a.id: a.name for a in await principals.agents_of(db, caller.org)}
        total = await find.count(db)
    replaying = Replay(body.text, services.catalogue, names)
    since = services.clock.now() - body.seconds
    return StreamingResponse(_replayed(services, caller.org, replaying, since, total), media_type=NDJSON)


async def _replayed(services: Services, org: str, replaying: Replay, since: float, total: int) -> AsyncIterator[bytes]:
    counts = {"stay": 0, "change": 0, "undecided": 0}
    seen = 0
    async for lines in pages(services.database, size=500):
        seen += len(lines)
        for line in lines:
            record = msgspec.json.decode(line)
            if record["event"] not in EVENTS or record["org"] != org:
                continue
            time = datetime.fromisoformat(record["time"]).astimezone(UTC).timestamp()
            if time < since:
                continue
            found = replaying.of(record["event"], record, time)
            kind = "undecided" if found.now is None else "change" if found.has_changed else "stay"
            counts[kind] += 1
            if found.has_changed and counts["change"] <= SHOWN_CHANGES:
                yield _line(
                    {"changes": record["id"], "call": told(record), "was": found.was, "now": found.now,
                     "rules": list(found.rules)}
                )  # fmt: skip
        yield _line({"seen": seen, "of": max(total, seen)})
        await asyncio.sleep(0)
    yield _line(counts)


def _line(value: dict[str, Any]) -> bytes:
    return msgspec.json.encode(value) + b"\n"


def _writes(caller: Caller) -> str:
    """Who it is; an administrator, or a service account that may."""
    caller.may("policy:write")
    if not caller.sees_all:
        caller.administrator()
    return caller.principal.id


def _shown(version: Version) -> answers.Policy:
    return {
        "id": version.id,
        "number": version.number,
        "digest": version.digest,
        "why": version.why,
        "applied_by": version.applied_by,
        "applied_at": version.applied_at,
    }


def routes(services: Services) -> list[Route]:
    writes = ("policy:write",)
    return [
        route(
            services,
            "/v1/policies",
            "POST",
            apply,
            status=201,
            summary="Put a policy in force, made from the version that is in force now",
            body=NewPolicy,
            answer=answers.Policy,
            scopes=writes,
            refuses=(Conflict,),
        ),
        route(
            services,
            "/v1/policies",
            "GET",
            policies,
            summary="Every version of the policy, the oldest first",
            query=Page,
            answer=answers.Listed[answers.Policy],
            scopes=writes,
        ),
        route(
            services,
            "/v1/policies/check",
            "POST",
            check,
            summary="Whether a policy could be applied",
            body=PolicyText,
            answer=answers.CheckedPolicy,
            scopes=writes,
        ),
        route(
            services,
            "/v1/policies/replay",
            "POST",
            replay,
            summary="What a policy would have decided of recorded calls, as lines of JSON",
            body=ReplayedPolicy,
            media=NDJSON,
            scopes=("audit:read",),
        ),
        route(
            services,
            "/v1/policies/{id}",
            "GET",
            policy,
            summary="One version with its text, by id or number",
            answer=answers.Policy,
            scopes=writes,
        ),
        route(
            services,
            "/v1/decisions/{id}",
            "GET",
            explain,
            summary="Why a call was decided as it was",
            answer=answers.ExplainedDecision,
        ),
        route(
            services,
            "/v1/decisions/foresee",
            "POST",
            foresee,
            summary="What would be decided of a call that was not made; for whom its task acts",
            body=ForeseenCall,
            answer=answers.ForeseenDecision,
            refuses=(NotFound, ConnectionRequired, UpstreamFailed),
        ),
    ]
