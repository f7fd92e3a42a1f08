"""Connecting an account at its API: what will be asked there in plain words, out to it, and back."""

from collections.abc import Collection
from typing import Any
from urllib.parse import urlencode, urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from valetkey.server.connections import store
from valetkey.server.connections.by_code.model import ConnectCode
from valetkey.server.connections.linking.connect import Finished
from valetkey.server.connections.linking.model import Answer, Wanted
from valetkey.server.connections.model import Connection
from valetkey.server.errors import InvalidRequest, NotFound, UpstreamFailed, ValetkeyError
from valetkey.server.integrations.authorization import OAuth
from valetkey.server.oauth.form import Form
from valetkey.server.principals import store as principals
from valetkey.server.principals.model import User
from valetkey.server.problems import status_of
from valetkey.server.secret import Secret
from valetkey.server.services import Services
from valetkey.server.web.door import Visitor, action, local_path, refused, shown, view
from valetkey.server.web.render import page

_ANSWERED = ("state", "code", "iss", "error")


async def choose(services: Services, visitor: Visitor, request: Request) -> Response:
    asked = request.query_params
    if code_id := asked.get("code"):
        code = await services.connect_codes.opened(code_id, *visitor.signed_in())
        return await _choice(
            services,
            visitor,
            code.integration,
            back="/",
            reconnect=code.connection or "",
            wanted=(),
            code=code,
        )
    return await _choice(
        services,
        visitor,
        asked.get("integration", ""),
        back=local_path(asked.get("next")),
        reconnect=asked.get("reconnect", ""),
        wanted=asked.get("scope", "").replace(",", " ").split(),
    )


async def begin(services: Services, visitor: Visitor, request: Request, form: Form) -> Response:
    user, session = visitor.signed_in()
    integration, back = form.get("integration") or "", local_path(form.get("next"))
    reconnect = form.get("reconnect") or ""
    code = None
    if code_id := form.get("code"):
        code = await services.connect_codes.opened(code_id, user, session)
        integration, reconnect, back = code.integration, code.connection or "", "/"
        if form.get("decision") == "decline":
            await services.connect_codes.decline(code_id, user, session)
            return page("request_done.html", view(visitor, "Declined", allowed=False, is_connecting=True))
    is_elsewhere = form.get("decision") == "elsewhere"
    wanted = Wanted(
        integration=integration,
        permissions=tuple(form.every("permission")),
        by=user,
        session=session.id,
        back=back,
        connection=reconnect,
        shared=form.get("shared") == "1",
        code=code,
    )
    try:
        address = await (services.connect_by_device if is_elsewhere else services.connect).begin(wanted)
    except (InvalidRequest, UpstreamFailed) as error:
        return await _choice(
            services, visitor, integration, back=back, reconnect=reconnect, wanted=(), problem=error, code=code
        )
    return RedirectResponse(f"/connections/elsewhere?linking={address}" if is_elsewhere else address, 303)


async def callback(services: Services, visitor: Visitor, request: Request) -> Response:
    try:
        return await _came_back(services, visitor, request)
    except ValetkeyError as error:
        return refused(visitor, error, links=[{"href": "/connections", "text": "Your connections"}])


async def _came_back(services: Services, visitor: Visitor, request: Request) -> Response:
    said = request.query_params
    if any(len(said.getlist(name)) > 1 for name in _ANSWERED):
        raise InvalidRequest("A parameter occurs twice.")
    answer = Answer(
        state=Secret(said.get("state", "")), code=said.get("code", ""), iss=said.get("iss"), error=said.get("error", "")
    )
    session = "" if visitor.session is None else visitor.session.id
    finished = await services.connect.finish(request.path_params["app"], answer, user=visitor.user, session=session)
    return went_on(finished)


def went_on(finished: Finished) -> Response:
    """To her connections, where what was connected is said, and from there to where she came from."""
    query = {"linked": finished.kept.facts.id} | ({} if finished.back == "/" else {"next": finished.back})
    return RedirectResponse(f"/connections?{urlencode(query)}", 303)


async def _choice(
    services: Services,
    visitor: Visitor,
    name: str,
    *,
    back: str,
    reconnect: str,
    wanted: Collection[str],
    problem: ValetkeyError | None = None,
    code: ConnectCode | None = None,
) -> Response:
    user, _ = visitor.signed_in()
    known = await _known(services, user, reconnect) if reconnect else None
    name = known.facts.integration if known is not None else name
    _, way = await services.connect.app(name, user.org)
    title, at = services.catalogue[name].title, urlsplit(way.authorize_url)
    had = known.linked.granted if known is not None and known.linked is not None else ()
    picked = {*had, *(way.asked_for(wanted) if wanted else ())}
    permissions = _permissions(way, picked)
    if code is not None and code.permissions:  # what it was made for, and nothing besides
        asked = [one for one in permissions if one["name"] in code.permissions]
        permissions = [one | {"is_ticked": True} for one in asked]
    facts = view(
        visitor,
        f"Connect {title}",
        integration=name,
        api=title,
        host=at.netloc,
        can_elsewhere=bool(way.device_url),
        account=known.facts.account if known is not None else "",
        reconnect=reconnect,
        back="" if back == "/" else back,
        is_decided_there=way.app_decides or not way.scopes,
        permissions=permissions,
        can_share=user.is_administrator and known is None and code is None,
        code=None if code is None else await _of_code(services, code),
        problem=problem,
    )
    status = 200 if problem is None else status_of(problem)
    return page("connecting.html", facts, status=status, submits_to=[f"{at.scheme}://{at.netloc}"])


async def _of_code(services: Services, code: ConnectCode) -> dict[str, Any]:
    """Who began it, in words."""
    agent = None
    if code.agent is not None:
        async with services.database.read() as db:
            agent = await principals.agent(db, code.agent)
    return {"id": code.id, "agent": "" if agent is None else agent.name, "is_shared": code.shared}


def _permissions(way: OAuth, picked: Collection[str]) -> list[dict[str, Any]]:
    """Every permission the API has and what it is for. Ticked is what one has or asked for; else what only reads."""
    return [
        {
            "name": scope.name,
            "sentence": scope.sentence,
            "tier": scope.tier,
            "is_reversible": scope.reversible,
            "covers": sorted(scope.covers),
            "is_always": scope.name in way.always,
            "is_ticked": scope.name in picked if picked else scope.tier == "read",
        }
        for scope in way.scopes.values()
    ]


async def _known(services: Services, user: User, connection_id: str) -> Connection:
    async with services.database.read() as db:
        found = await store.connection(db, connection_id)
    if found is None or found.facts.org != user.org or found.facts.owner not in (user.id, None):
        raise NotFound("There is no such connection, or it is not yours.")
    return found


def routes(services: Services) -> list[Route]:
    return [
        shown(services, "/connections/new", choose),
        action(services, "/connections/begin", begin),
        shown(services, "/connect/{app}/callback", callback, open_to_all=True),
    ]
