"""/v1/tasks: one run of an agent under a delegation, and narrower ones for its sub-agents."""

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.routing import Route

from valetkey.server.api.agents import named as agent_named
from valetkey.server.api.delegations import visible as visible_delegation
from valetkey.server.api.door import Caller, body_of, listed, route, same_org
from valetkey.server.delegations import store
from valetkey.server.delegations.grants import grant_text, parse_grants
from valetkey.server.delegations.model import Task
from valetkey.server.delegations.opening import openable
from valetkey.server.delegations.sentence import sentence
from valetkey.server.errors import Denied, NotFound, Revoked
from valetkey.server.principals import store as principals
from valetkey.server.principals.model import Agent, Status, User
from valetkey.server.revocation import store as revocation
from valetkey.server.secret import Secret
from valetkey.server.services import Services


class NewTask(msgspec.Struct, forbid_unknown_fields=True):
    delegation: str
    grants: list[str] = []
    seconds: int | None = None
    purpose: str = ""
    evidence: str | None = None


class NewChild(msgspec.Struct, forbid_unknown_fields=True):
    agent: str
    grants: list[str]
    seconds: int | None = None


async def create(services: Services, caller: Caller, request: Request) -> dict[str, Any]:
    body = await body_of(request, NewTask)
    principal = caller.principal
    if isinstance(principal, Agent):
        caller.agent_with_tasks()
    else:
        principal = caller.user()  # a service account never acts for a person
    delegation = await visible_delegation(services, caller, body.delegation)
    async with services.database.read() as db:
        agent, user = await openable(db, delegation, now=services.clock.now())
    task = await services.confirm.open_task(
        delegation,
        present=principal if isinstance(principal, User) else None,
        evidence=None if body.evidence is None else Secret(body.evidence),
        asked=parse_grants(body.grants),
        seconds=services.settings.task_seconds if body.seconds is None else body.seconds,
        purpose=body.purpose,
    )
    return _shown(services, task, [agent], user) | {"task_token": services.issue.task_token(task, agent)}


async def create_child(services: Services, caller: Caller, request: Request) -> dict[str, Any]:
    body = await body_of(request, NewChild)
    acting = caller.agent_with_tasks()
    async with services.database.read() as db:
        lineage = await store.lineage(db, request.path_params["id"])
        parent = same_org(lineage[0] if lineage else None, caller, "task")
        if parent.agent != acting.id:
            raise NotFound("There is no such task, or it is not yours.")
        delegation = same_org(await store.delegation(db, parent.delegation), caller, "delegation")
        user = same_org(await principals.user(db, delegation.user), caller, "user")
        chain = [same_org(await principals.agent(db, t.agent), caller, "agent") for t in lineage]
        agents = {node for a in chain for node in (a.id, a.owner)}
        nodes = {delegation.id, user.id, user.org, *(t.id for t in lineage), *agents}
        stopped = await revocation.among(db, nodes)
    now = services.clock.now()
    if stopped or not delegation.is_live(now) or not all(t.is_live(now) for t in lineage):
        raise Revoked("This task has ended.")
    sub_agent = await agent_named(services, caller, body.agent)
    async with services.database.read() as db:
        if await revocation.among(db, {sub_agent.id, sub_agent.owner}):
            raise Denied("An agent of the chain is revoked.", reason="revoked")
    if any(a.status is not Status.ACTIVE for a in (*chain, sub_agent)):
        raise Denied("An agent of the chain is suspended.", reason="suspended")
    child = await services.confirm.open_child(
        parent,
        delegation,
        sub_agent,
        asked=parse_grants(body.grants),
        seconds=services.settings.task_seconds if body.seconds is None else body.seconds,
    )
    return _shown(services, child, [sub_agent, *chain], user) | {
        "task_token": services.issue.task_token(child, sub_agent)
    }


async def tasks(services: Services, caller: Caller, request: Request) -> dict[str, Any]:
    caller.may("delegations:read")
    user = None if caller.sees_all else caller.principal.id
    async with services.database.read() as db:
        delegations = {d.id: d for d in await store.delegations_of(db, org=caller.org, user=user)}
        found = await store.tasks_of(db, list(delegations))
        stopped = await revocation.among(db, {*(t.id for t in found), *delegations})
        people = {u.id: u for u in await principals.users_of(db, caller.org)}
        agents = {a.id: a for a in await principals.agents_of(db, caller.org)}
    now = services.clock.now()
    rows = []
    for task in found[:100]:
        ended = task.id in stopped or task.delegation in stopped
        shown = _shown(services, task, [agents[task.agent]], people[delegations[task.delegation].user])
        rows.append(shown | {"status": "revoked" if ended else "live" if task.is_live(now) else "expired"})
    return listed(rows)


def _shown(services: Services, task: Task, chain: list[Agent], user: User) -> dict[str, Any]:
    return {
        "id": task.id,
        "delegation": task.delegation,
        "agent": chain[0].name,
        "parent": task.parent,
        "depth": task.depth,
        "purpose": task.purpose,
        "grants": [grant_text(g) for g in task.grants],
        "expires_at": task.expires_at,
        "sentence": sentence(
            chain=[a.subject for a in chain],
            user=user.subject,
            grants=task.grants,
            expires_at=task.expires_at,
            now=services.clock.now(),
            catalogue=services.catalogue,
        ),
    }


def routes(services: Services) -> list[Route]:
    return [
        route(services, "/v1/tasks", "POST", create, status=201),
        route(services, "/v1/tasks", "GET", tasks),
        route(services, "/v1/tasks/{id}/children", "POST", create_child, status=201),
    ]
