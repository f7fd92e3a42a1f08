"""/v1/approvals: what waits for a person and her answer; and, for the agent that waits, what became of it."""

from typing import Literal

import msgspec
from starlette.requests import Request
from starlette.routing import Route

from valetkey.server.api import answers
from valetkey.server.api.door import Caller, route
from valetkey.server.approvals.model import Approval, Proof
from valetkey.server.errors import Conflict, InvalidRequest, NotFound
from valetkey.server.principals.model import Agent
from valetkey.server.services import Services


class Answer(msgspec.Struct, forbid_unknown_fields=True):
    """`message` goes to the agent, with a no."""

    answer: Literal["approve", "approve-like-this", "deny"]
    message: str = ""


async def approvals(services: Services, caller: Caller, request: Request) -> answers.Approvals:
    person = caller.user()
    found = await services.approvals.listed(person)
    given = await services.approvals.standing(person)
    return {
        "data": [await shown(services, one) for one in found],
        "standing": [{"id": s.id, "task": s.task, "words": s.words, "created_at": s.created_at} for s in given],
    }


async def approval(services: Services, caller: Caller, request: Request) -> answers.Approval:
    wanted = request.path_params["id"]
    if isinstance(caller.principal, Agent):
        # SECURITY: an agent is told what became of its own question, and never what others may see of it.
        return _bare(services, await services.approvals.of_agent(caller.principal, wanted))
    return await shown(services, await services.approvals.of(caller.user(), wanted))


async def answer(services: Services, caller: Caller, request: Request, body: Answer) -> answers.Approval:
    # SECURITY: only a person's own credential answers; an agent or a service account is refused by its kind.
    # Guarded by tests/flows/test_approvals.py::test_ap_04_the_agent_cannot_approve
    person = caller.user()
    wanted = request.path_params["id"]
    if body.answer == "deny":
        await services.approvals.deny(person, wanted, body.message)
    elif body.message:
        raise InvalidRequest("A message goes with a no.", hint="Leave it out, or deny.")
    else:
        like = body.answer == "approve-like-this"
        proof = Proof(words="credential of the command line")
        await services.approvals.approve(person, wanted, proof=proof, for_the_task=like)
    return await shown(services, await services.approvals.of(person, wanted))


async def cancel(services: Services, caller: Caller, request: Request) -> answers.Approval:
    wanted = request.path_params["id"]
    principal = caller.principal
    if isinstance(principal, Agent):
        found = await services.approvals.of_agent(principal, wanted)
    else:
        found = await services.approvals.of(caller.user(), wanted)
    await services.approvals.cancel(found, by=principal.id)
    return await approval(services, caller, request)


async def end_standing(services: Services, caller: Caller, request: Request) -> answers.Approvals:
    await services.approvals.end_standing(caller.user(), request.path_params["id"])
    return await approvals(services, caller, request)


def _bare(services: Services, a: Approval) -> answers.Approval:
    return {
        "id": a.id,
        "status": a.now(services.clock.now()).value,
        "task": a.task,
        "link": services.approvals.link(a.id),
        "message": a.message,
        "created_at": a.created_at,
        "expires_at": a.expires_at,
    }


async def shown(services: Services, a: Approval) -> answers.Approval:
    """An approval, as a person sees it: from the kept bytes."""
    seen = await services.approvals.shown(a)
    bare = _bare(services, a)
    bare["call"] = {
        "title": seen.title,
        "method": seen.method,
        "host": seen.host,
        "path": seen.path,
        "query": [[row.name, row.value] for row in seen.query],
        "body_kind": seen.kind,
        "body": [[row.name, row.value] for row in seen.rows],
        "text": seen.text,
        "is_whole": seen.is_whole,
    }
    bare["agent"] = a.facts.agents[0]
    bare["account"] = a.facts.account
    bare["resources"] = [part.resource for part in a.facts.parts]
    bare["why"] = a.facts.words
    bare["claimed_purpose"] = a.facts.purpose
    bare["danger"] = a.facts.danger
    bare["needs_proof"] = a.facts.danger or not seen.is_whole
    bare["may_be_for_the_task"] = a.may_be_for_the_task
    return bare


def routes(services: Services) -> list[Route]:
    return [
        route(
            services,
            "/v1/approvals",
            "GET",
            approvals,
            summary="What waits for you, and what you answered for whole tasks",
            answer=answers.Approvals,
        ),
        route(
            services,
            "/v1/approvals/{id}",
            "GET",
            approval,
            summary="One of them: the exact call, from the bytes that will be sent; for its agent, what became of it",
            answer=answers.Approval,
        ),
        route(
            services,
            "/v1/approvals/{id}/answer",
            "POST",
            answer,
            summary="As a person: approve the call once or until the task ends, or deny it",
            body=Answer,
            answer=answers.Approval,
            refuses=(NotFound, Conflict),
        ),
        route(
            services,
            "/v1/approvals/{id}/cancel",
            "POST",
            cancel,
            summary="Take the question back, as long as nothing was sent",
            answer=answers.Approval,
            refuses=(Conflict,),
        ),
        route(
            services,
            "/v1/standing-answers/{id}/end",
            "POST",
            end_standing,
            summary="Take back an answer that held until a task ends",
            answer=answers.Approvals,
        ),
    ]
