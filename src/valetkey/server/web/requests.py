"""/requests: what agents ask a person who is somewhere else, and her answer on the same page as any other consent."""

from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from valetkey.server.audit.store import Change
from valetkey.server.delegations.model import Delegation
from valetkey.server.errors import ConnectionRequired, Denied, InvalidRequest, NotFound, UpstreamFailed
from valetkey.server.oauth.authorize import Question
from valetkey.server.oauth.decoupled.model import DecoupledRequest, Kind, Status
from valetkey.server.oauth.form import Form
from valetkey.server.principals.sessions.model import Session, meets
from valetkey.server.services import Services
from valetkey.server.web.consent import agreed, consent_page
from valetkey.server.web.consent_words import span
from valetkey.server.web.door import Visitor, action, shown, view
from valetkey.server.web.render import page


async def listed(services: Services, visitor: Visitor, request: Request) -> Response:
    user, _ = visitor.signed_in()
    waiting = [facts_of(found, question, services) for found, question in await services.answering.waiting(user)]
    return page("requests.html", view(visitor, "Waiting for you", waiting=waiting))


async def show(services: Services, visitor: Visitor, request: Request) -> Response:
    user, session = visitor.signed_in()
    found, question = await services.answering.question(request.path_params["id"], user)
    if (detour := _detour(found, question, session)) is not None:
        return detour
    return await consent_page(services, visitor, question, **_ours(found, question, services))


async def answer(services: Services, visitor: Visitor, request: Request, form: Form) -> Response:
    user, session = visitor.signed_in()
    chosen = form.get("request") or ""
    if form.get("decision") != "allow":
        await services.answering.decline(chosen, user)
        return page("request_done.html", view(visitor, "Declined", allowed=False, is_connecting=False))
    found, question = await services.answering.question(chosen, user)
    if (detour := _detour(found, question, session)) is not None:
        return detour

    async def also(change: Change, delegation: Delegation) -> None:
        await services.answering.approve(change, found, question, session, delegation)

    try:
        await agreed(services, user, question, form, also=also)
    except (InvalidRequest, ConnectionRequired, Denied, NotFound, UpstreamFailed) as error:
        ours = _ours(found, question, services)
        return await consent_page(services, visitor, question, form=form, problem=error, **ours)
    services.answering.answered(found)
    return page("request_done.html", view(visitor, "Allowed", allowed=True))


def facts_of(found: DecoupledRequest, question: Question, services: Services) -> dict[str, Any]:
    """What a page says of a request: who, what for, from where, how long ago."""
    lines = []
    for line in question.request.lines:
        integration = services.catalogue[line.grant.integration]
        scopes = [integration.scopes[name] for name in sorted(line.grant.scopes)]
        names = ", ".join("everything" if r.name == "*" else r.name for r in line.grant.resources)
        lines.append(
            {
                "title": integration.title,
                "scopes": [{"name": scope.name, "sentence": scope.sentence} for scope in scopes],
                "names": names or "what you name yourself",
            }
        )
    return {
        "id": found.id,
        "is_device": found.kind is Kind.DEVICE,
        "client": question.request.client.name,
        "agent": question.agent.name,
        "purpose": question.request.purpose,
        "message": found.message,
        "code": "",
        "lines": lines,
        "origin": found.origin or "an unknown address",
        "age": age(services.clock.now() - found.created_at),
    }


def age(seconds: float) -> str:
    """How long ago, in words.

    >>> age(3), age(65), age(130)
    ('just now', '1 minute ago', '2 minutes ago')
    """
    return "just now" if seconds < 10 else f"{span(int(seconds) // 60 * 60 if seconds >= 60 else int(seconds))} ago"


def _detour(found: DecoupledRequest, question: Question, session: Session) -> Response | None:
    """To the confirmation that comes first for a device, or to prove herself better, as the request asks."""
    if found.kind is Kind.DEVICE and found.status is not Status.CONFIRMED:
        return RedirectResponse(f"/device/{found.id}", 303)
    asked = question.request
    is_fresh = asked.max_age is None or session.auth_time >= found.created_at - asked.max_age
    if is_fresh and meets(session.acr, asked.acr_values):
        return None
    wanted = {"next": f"/requests/{found.id}", "again": "1"}
    return RedirectResponse("/login?" + urlencode(wanted), 303)


def _ours(found: DecoupledRequest, question: Question, services: Services) -> dict[str, Any]:
    facts = facts_of(found, question, services)
    where = f"Asked {facts['age']} from {facts['origin']}."
    if found.kind is Kind.DEVICE:
        notes = (f"{where} Go on only if you started this yourself, on a device you have before you.",)
    elif found.message:
        notes = (f"{where} It says: “{found.message}”. Go on only if you see the same where you asked it for this.",)
    else:
        notes = (f"{where} Go on only if you know why it asks.",)
    return {
        "address": "/requests/answer",
        "hidden": {"request": found.id},
        "back": f"/requests/{found.id}",
        "notes": notes,
    }


def routes(services: Services) -> list[Route]:
    return [
        shown(services, "/requests", listed),
        action(services, "/requests/answer", answer),
        shown(services, "/requests/{id}", show),
    ]
