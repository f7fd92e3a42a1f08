"""/approvals: the calls that wait for this person, each shown from the bytes that will be sent, and the answers.

A link finds the page and never answers: every answer is a form of this page. What is dangerous, or cannot be shown
whole, is approved only by a proof made for it alone: `approvals.proving`.
"""

from typing import Any, Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from valetkey.server.approvals.model import Approval, Proof, State
from valetkey.server.approvals.proving.prove import Wanted
from valetkey.server.errors import Conflict, Denied, InvalidRequest, NotAuthenticated, ValetkeyError
from valetkey.server.oauth.form import Form
from valetkey.server.problems import status_of
from valetkey.server.secret import Secret
from valetkey.server.services import Services
from valetkey.server.web.account import changing
from valetkey.server.web.consent_words import span
from valetkey.server.web.door import Visitor, action, shown, view
from valetkey.server.web.render import page
from valetkey.server.web.requests import age

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
        visitor,
        "Approvals",
        groups=groups,
        standing=await services.approvals.standing(user),
        count=len(found),
        may_change=await changing(services, visitor, request, back="/approvals") is None,
        push_key=services.push_key,
    )
    return page("approvals.html", facts, script=True)


async def show(services: Services, visitor: Visitor, request: Request) -> Response:
    user, _ = visitor.signed_in()
    return await _shown(services, visitor, await services.approvals.of(user, request.path_params["id"]))


async def set_out(services: Services, visitor: Visitor, request: Request, form: Form) -> Response:
    """To sign in anew, for this one alone, and back."""
    user, session = visitor.signed_in()
    found = await services.approvals.of(user, request.path_params["id"])
    await services.proving.set_out(user, found, session)
    return RedirectResponse(f"/login?{urlencode({'next': f'/approvals/{found.id}', 'again': '1'})}", 303)


async def begin(services: Services, visitor: Visitor, request: Request, form: Form) -> Response:
    """What this person's passkey is to sign."""
    user, _ = visitor.signed_in()
    found = await services.approvals.of(user, request.path_params["id"])
    options = await services.proving.begin(user, found, browser=visitor.browser)
    return JSONResponse(options, headers={"cache-control": "no-store"})


async def answer(services: Services, visitor: Visitor, request: Request, form: Form) -> Response:
    user, _ = visitor.signed_in()
    found = await services.approvals.of(user, request.path_params["id"])
    try:
        await _answered(services, visitor, found, form)
    except (NotAuthenticated, InvalidRequest, Denied, Conflict) as error:
        # A second click, or another tab, sees what became of it, and that this answer did not count.
        return await _shown(services, visitor, await services.approvals.of(user, found.id), error)
    return RedirectResponse(f"/approvals/{found.id}", 303)


async def _answered(services: Services, visitor: Visitor, found: Approval, form: Form) -> None:
    user, _ = visitor.signed_in()
    match form.get("answer"):
        case "approve" | "like-this" as said:
            proof = await _proof(services, visitor, found, form)
            await services.approvals.approve(user, found.id, proof=proof, for_the_task=said == "like-this")
        case "deny":
            await services.approvals.deny(user, found.id, form.get("message") or "")
        case "cancel":
            await services.approvals.cancel(found, by=user.id)
        case _:
            raise InvalidRequest("This is no answer.", hint="Go back and choose one.")


async def end_standing(services: Services, visitor: Visitor, request: Request, form: Form) -> Response:
    user, _ = visitor.signed_in()
    await services.approvals.end_standing(user, form.get("standing") or "")
    return RedirectResponse("/approvals", 303)


async def _proof(services: Services, visitor: Visitor, found: Approval, form: Form) -> Proof:
    """How this person is proven, as the record says it."""
    user, session = visitor.signed_in()
    if step := form.get("step"):
        offered = form.get("credential") or ""
        return await services.proving.by_passkey(user, found, Secret(step), offered, browser=visitor.browser)
    if await services.approvals.needs_proof(found):
        return await services.proving.by_sign_in(user, found, session)
    return Proof(words=f"{' '.join(session.amr)} {int(visitor.now) - session.auth_time} s before")


async def _shown(services: Services, visitor: Visitor, found: Approval, error: ValetkeyError | None = None) -> Response:
    user, session = visitor.signed_in()
    past = [(age(visitor.now - p.created_at), _WORDS[p.now(visitor.now)]) for p in await services.approvals.past(found)]
    it = await _facts(services, found, visitor.now)
    by = await services.proving.wanted(user) if it["needs_proof"] and it["is_open"] else None
    if by is Wanted.SIGN_IN and await services.proving.is_signed_in_for(user, found, session):
        by = None
    facts = view(
        visitor, "Approval", it=it, past=past, by=by.value if by else "", problem=error.public if error else ""
    )
    status = 200 if error is None else status_of(error)
    return page("approval.html", facts, status=status, script=by is Wanted.PASSKEY)


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
        action(services, "/approvals/{id}/begin", begin),
        action(services, "/approvals/{id}/prove", set_out),
        action(services, "/approvals/{id}", answer),
    ]
