"""/approvals: the calls that wait for this person, each shown from the bytes that will be sent, and the answers.

A link finds the page and never answers: every answer is a form of this page. What is dangerous, or cannot be shown
whole, is approved only within two minutes of a fresh proof that it is this person.
"""

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from valetkey.server.approvals.model import Approval, State
from valetkey.server.errors import InvalidRequest
from valetkey.server.oauth.form import Form
from valetkey.server.principals.sessions.model import Session
from valetkey.server.services import Services
from valetkey.server.web.consent_words import span
from valetkey.server.web.door import Visitor, action, fresh, shown, view
from valetkey.server.web.render import page
from valetkey.server.web.requests import age

FRESH_SECONDS: Final = 120
_WORDS: Final = {
    State.PENDING: "Waiting for an answer",
    State.APPROVED: "Approved; the agent has not sent it yet",
    State.DENIED: "Denied",
    State.EXPIRED: "Its time is over; nothing was sent",
    State.UNREACHED: "Nobody saw it in time; nothing was sent",
    State.CANCELLED: "Taken back; nothing was sent",
    State.USED: "Approved and sent, once",
}


async def listed(services: Services, visitor: Visitor, request: Request) -> Response:
    user, _ = visitor.signed_in()
    found = await services.approvals.listed(user)
    groups: dict[str, list[dict[str, Any]]] = {}
    for one in found:
        groups.setdefault(one.facts.agents[0], []).append(await _facts(services, one, visitor.now))
    facts = view(
        visitor, "Approvals", groups=groups, standing=await services.approvals.standing(user), count=len(found)
    )
    return page("approvals.html", facts, script=True)


async def show(services: Services, visitor: Visitor, request: Request) -> Response:
    user, session = visitor.signed_in()
    found = await services.approvals.of(user, request.path_params["id"])
    past = [(age(visitor.now - p.created_at), _WORDS[p.now(visitor.now)]) for p in await services.approvals.past(found)]
    facts = await _facts(services, found, visitor.now)
    must_prove = facts["needs_proof"] and not session.is_fresh(visitor.now, FRESH_SECONDS)
    return page("approval.html", view(visitor, "Approval", it=facts, past=past, must_prove=must_prove))


async def prove(services: Services, visitor: Visitor, request: Request) -> Response:
    """To prove that it is this person, and back."""
    user, _ = visitor.signed_in()
    found = await services.approvals.of(user, request.path_params["id"])
    back = f"/approvals/{found.id}"
    return fresh(visitor, request, max_age=FRESH_SECONDS, back=back) or RedirectResponse(back, 303)


async def answer(services: Services, visitor: Visitor, request: Request, form: Form) -> Response:
    user, session = visitor.signed_in()
    wanted = request.path_params["id"]
    match form.get("answer"):
        case "approve" | "like-this" as said:
            await services.approvals.approve(
                user,
                wanted,
                proof=_proof(session, visitor.now),
                is_fresh=session.is_fresh(visitor.now, FRESH_SECONDS),
                for_the_task=said == "like-this",
            )
        case "deny":
            await services.approvals.deny(user, wanted, form.get("message") or "")
        case "cancel":
            await services.approvals.cancel(await services.approvals.of(user, wanted), by=user.id)
        case _:
            raise InvalidRequest("This is no answer.", hint="Go back and choose one.")
    return RedirectResponse(f"/approvals/{wanted}", 303)


async def end_standing(services: Services, visitor: Visitor, request: Request, form: Form) -> Response:
    user, _ = visitor.signed_in()
    await services.approvals.end_standing(user, form.get("standing") or "")
    return RedirectResponse("/approvals", 303)


def _proof(session: Session, now: float) -> str:
    """How this person was proven, as the record says it."""
    return f"{' '.join(session.amr)} {int(now) - session.auth_time} s before"


async def _facts(services: Services, a: Approval, now: float) -> dict[str, Any]:
    seen = await services.approvals.shown(a)
    state = a.now(now)
    integration = services.catalogue.get(a.facts.integration)
    return {
        "id": a.id,
        "state": state.value,
        "words": _WORDS[state],
        "is_open": state is State.PENDING,
        "is_cancellable": state is State.APPROVED,
        "agents": a.facts.agents,
        "api": integration.title if integration is not None else a.facts.integration,
        "account": a.facts.account,
        "purpose": a.facts.purpose,
        "why": a.facts.words,
        "parts": a.facts.parts,
        "danger": a.facts.danger,
        "needs_proof": a.facts.danger or not seen.is_whole,
        "for_the_task": a.may_be_for_the_task,
        "call": seen,
        "task": a.task,
        "message": a.message,
        "age": age(now - a.created_at),
        "left": span(max(1, int(a.expires_at - now))),
    }


def routes(services: Services) -> list[Route]:
    return [
        shown(services, "/approvals", listed),
        action(services, "/approvals/standing/end", end_standing),
        shown(services, "/approvals/{id}", show),
        shown(services, "/approvals/{id}/prove", prove),
        action(services, "/approvals/{id}", answer),
    ]
