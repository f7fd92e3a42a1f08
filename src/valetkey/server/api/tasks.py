"""/v1/tasks: one run of an agent under a delegation, and narrower ones for its sub-agents."""

from collections.abc import Sequence

import msgspec
from starlette.requests import Request
from starlette.routing import Route

from valetkey.server.api import answers
from valetkey.server.api.agents import named as agent_named
from valetkey.server.api.delegations import visible as visible_delegation
from valetkey.server.api.described import GrantText, Purpose, Seconds
from valetkey.server.api.door import Caller, listed, route
from valetkey.server.api.paging import Listing, Page
from valetkey.server.delegations import store
from valetkey.server.delegations.grants import grant_text, parse_grants
from valetkey.server.delegations.model import Task
from valetkey.server.delegations.opening import openable
from valetkey.server.delegations.sentence import sentence
from valetkey.server.errors import ConsentRequired, NotFound, Revoked
from valetkey.server.principals import store as principals
from valetkey.server.principals.model import Agent, User
from valetkey.server.revocation import store as revocation
from valetkey.server.secret import Secret
from valetkey.server.services import Services

TASKS = Listing("tasks")


class NewTask(msgspec.Struct, forbid_unknown_fields=True):
    delegation: str
    grants: list[GrantText] = []
    seconds: Seconds | None = None
    purpose: Purpose = ""
    evidence: str | None = None


class NewChild(msgspec.Struct, forbid_unknown_fields=True):
    agent: str
    grants: list[GrantText]
    seconds: Seconds | None = None


async def create(services: Services, caller: Caller, request: Request, body: NewTask) -> answers.Task:
    principal = caller.principal
    if isinstance(principal, Agent):
        caller.agent_with_tasks()
    else:
        principal = caller.user()  # a service account never acts for a person
    delegation = await visible_delegation(services, caller, body.delegation)
    async with services.database.read() as db:
        agent, user = await openable(db, delegation, now=services.clock.now())
        named = [await principals.agent(db, one) for one in sorted(delegation.share_with)]
    task = await services.open_task.root(
        delegation,
        present=principal if isinstance(principal, User) else None,
        evidence=None if body.evidence is None else Secret(body.evidence),
        asked=parse_grants(body.grants),
        seconds=services.settings.task_seconds if body.seconds is None else body.seconds,
        purpose=body.purpose,
    )
    may_act = [a for a in named if a is not None]
    return _shown(services, task, [agent], user) | {
        "task_token": _token(services, caller, task, agent, may_act=may_act)
    }


async def create_child(services: Services, caller: Caller, request: Request, body: NewChild) -> answers.Task:
    acting = caller.agent_with_tasks()
    sub_agent = await agent_named(services, caller, body.agent)
    passed = await services.pass_on.part(
        request.path_params["id"],
        acting=acting.id,
        to=sub_agent,
        asked=parse_grants(body.grants),
        seconds=services.settings.task_seconds if body.seconds is None else body.seconds,
    )
    return _shown(services, passed.task, list(passed.chain), passed.user) | {
        "task_token": _token(services, caller, passed.task, sub_agent, may_act=passed.may_act)
    }


async def tasks(services: Services, caller: Caller, request: Request, page: Page) -> answers.Listed[answers.Task]:
    caller.may("delegations:read")
    after = TASKS.after(services, caller, page.cursor)
    user = None if caller.sees_all else caller.principal.id
    async with services.database.read() as db:
        found = await store.tasks_under(db, org=caller.org, user=user, after=after, limit=page.limit + 1)
        delegations = await store.delegations_by_id(db, {t.delegation for t in found})
        stopped = await revocation.among(db, {*(t.id for t in found), *delegations})
        people = {u.id: u for u in await principals.users_of(db, caller.org)}
        agents = {a.id: a for a in await principals.agents_of(db, caller.org)}
    now = services.clock.now()
    rows, cursor = TASKS.cut(services, caller, found, page.limit)
    shown = []
    for task in rows:
        one = _shown(services, task, [agents[task.agent]], people[delegations[task.delegation].user])
        ended = task.id in stopped or task.delegation in stopped
        one["status"] = "revoked" if ended else "live" if task.is_live(now) else "expired"
        shown.append(one)
    return listed(shown, cursor)


def _token(services: Services, caller: Caller, task: Task, agent: Agent, *, may_act: Sequence[Agent]) -> str:
    """Bound to the key the agent proved, if it is the agent that asks; a person's key is not the agent's."""
    jkt = caller.jkt if caller.principal.id == agent.id else None
    return services.issue.task_token(task, agent, may_act=may_act, jkt=jkt)


def _shown(services: Services, task: Task, chain: list[Agent], user: User) -> answers.Task:
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
        route(
            services,
            "/v1/tasks",
            "POST",
            create,
            status=201,
            summary="Open a task: one run of the agent under a delegation",
            body=NewTask,
            answer=answers.Task,
            refuses=(NotFound, ConsentRequired, Revoked),
        ),
        route(
            services,
            "/v1/tasks",
            "GET",
            tasks,
            summary="The tasks under your delegations, the newest first; for who sees the organization, all",
            query=Page,
            answer=answers.Listed[answers.Task],
            scopes=("delegations:read",),
        ),
        route(
            services,
            "/v1/tasks/{id}/children",
            "POST",
            create_child,
            status=201,
            summary="As the task's agent: a narrower task for a sub-agent",
            body=NewChild,
            answer=answers.Task,
            refuses=(Revoked,),
        ),
    ]
