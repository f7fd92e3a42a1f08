"""/consent: shows what an agent asks for, in words, and records what the person ticked. It never decides.

After the answer the browser goes back to where the request is judged, from the server's own copy.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from valetkey.server.audit.store import Change
from valetkey.server.connections.delegable import delegable
from valetkey.server.delegations.confirm import Wish
from valetkey.server.delegations.model import Delegation
from valetkey.server.errors import ConnectionRequired, Denied, InvalidRequest, NotFound, UpstreamFailed, ValetkeyError
from valetkey.server.oauth.authorize import Question
from valetkey.server.oauth.choices import Limits, chosen
from valetkey.server.oauth.clients.redirects import origin_of
from valetkey.server.oauth.form import Form
from valetkey.server.principals import store as principals
from valetkey.server.principals.model import User
from valetkey.server.secret import Secret
from valetkey.server.services import Services
from valetkey.server.web.authorize import led_on
from valetkey.server.web.consent_words import consent_facts
from valetkey.server.web.door import Visitor, action, shown, view
from valetkey.server.web.render import page

Also = Callable[[Change, Delegation], Awaitable[None]]


async def show(services: Services, visitor: Visitor, request: Request) -> Response:
    user, session = visitor.signed_in()
    handle = Secret(request.query_params.get("request", ""))
    came = await services.authorize.came_back(handle, user, session)
    if not isinstance(came, Question):
        return led_on(came, handle)
    return await consent_page(services, visitor, came, **_ours(handle, came))


async def answer(services: Services, visitor: Visitor, request: Request, form: Form) -> Response:
    user, session = visitor.signed_in()
    handle = Secret(form.get("request") or "")
    if form.get("decision") != "allow":
        return led_on(await services.authorize.declined(handle, user, session), handle)
    came = await services.authorize.came_back(handle, user, session)
    if not isinstance(came, Question):
        return led_on(came, handle)

    async def also(change: Change, delegation: Delegation) -> None:
        await services.authorize.answered(change, handle, session, came.wanted, delegation.id)

    try:
        await agreed(services, user, came, form, also=also)
    except (InvalidRequest, ConnectionRequired, Denied, NotFound, UpstreamFailed) as error:
        return await consent_page(services, visitor, came, form=form, problem=error, **_ours(handle, came))
    return RedirectResponse(f"/oauth/authorize?request={handle.reveal()}", 303)


async def consent_page(
    services: Services,
    visitor: Visitor,
    question: Question,
    *,
    address: str,
    hidden: Mapping[str, str],
    back: str,
    submits_to: tuple[str, ...] = (),
    form: Form | None = None,
    problem: ValetkeyError | None = None,
    notes: tuple[str, ...] = (),
) -> Response:
    """The page. Its form goes to `address` with `hidden`; `back` is where a detour to /connections returns to.

    `form` is what she sent before, when it could not be recorded, and `problem` why. `notes` stand above everything.
    """
    user, _ = visitor.signed_in()
    async with services.database.read() as db:
        held = await delegable(db, user, services.catalogue)
        owner = await principals.user(db, question.agent.owner)
        shared = [await principals.agent_by_name(db, user.org, name) for name in question.request.share_with]
    facts = consent_facts(
        question,
        held=held,
        owner=owner,
        shared=[agent for agent in shared if agent is not None],
        catalogue=services.catalogue,
        limits=limits_of(services),
        now=services.clock.now(),
        form=form,
    )
    detour = f"/connections?next={quote(back, safe='')}"
    said = view(
        visitor,
        f"{question.request.client.name} asks for your permission",
        address=address,
        hidden=hidden,
        detour=detour,
        problem=problem,
        notes=notes,
        **facts,
    )
    return page("consent.html", said, status=200 if problem is None else 400, submits_to=submits_to)


async def agreed(services: Services, user: User, question: Question, form: Form, *, also: Also) -> Delegation:
    """Record what she ticked, bound to what the names mean now; `also` runs in the same transaction."""
    choice = chosen(question.request, form, services.catalogue, limits_of(services))
    async with services.database.read() as db:
        held = await delegable(db, user, services.catalogue)
        found = [await principals.agent_by_name(db, user.org, name) for name in choice.share_with]
    share_with = tuple(agent for agent in found if agent is not None)
    if len(share_with) != len(choice.share_with):
        raise NotFound("An agent it would share with is not one of your organization.")
    grants = tuple([await services.lookups.bind(held.chosen(grant).facts, grant) for grant in choice.grants])
    wish = Wish(
        user=user,
        agent=question.agent,
        grants=grants,
        purpose=question.request.purpose or "not stated by the agent",
        seconds=choice.seconds,
        mode=choice.mode,
        tasks_per_day=choice.tasks_per_day,
        share_with=share_with,
    )
    shared_only = all(held.is_shared(g) for g in grants)
    return await services.confirm.record(wish, by=user, shared_only=shared_only, allowed=held.allowed, also=also)


def limits_of(services: Services) -> Limits:
    return Limits(usual=services.settings.task_seconds, standing=services.settings.standing_max_days * 86_400)


def _ours(handle: Secret, question: Question) -> dict[str, Any]:
    origin = origin_of(question.request.redirect_uri or "")
    return {
        "address": "/consent",
        "hidden": {"request": handle.reveal()},
        "back": f"/consent?request={handle.reveal()}",
        "submits_to": (origin,),
    }


def routes(services: Services) -> list[Route]:
    return [shown(services, "/consent", show), action(services, "/consent", answer)]
