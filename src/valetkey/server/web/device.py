"""/device: a person types the code a device shows, sees what is behind it, and says whether it is hers (RFC 8628).

The page between the code and the consent always comes, also for the address that holds the code: what it says is how
somebody notices that the device is another's.
"""

from functools import partial

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from valetkey.server.errors import NotFound, TooMany
from valetkey.server.oauth.form import Form
from valetkey.server.principals.user_codes import spelled, typed
from valetkey.server.services import Services
from valetkey.server.web.door import Visitor, action, address_of, shown, view
from valetkey.server.web.render import page
from valetkey.server.web.requests import facts_of
from valetkey.server.web.typed_code import asked_again


async def show(services: Services, visitor: Visitor, request: Request) -> Response:
    code = typed(request.query_params.get("user_code", ""))
    return _page(visitor, code=spelled(code) if code is not None else "")


async def enter(services: Services, visitor: Visitor, request: Request, form: Form) -> Response:
    user, session = visitor.signed_in()
    try:
        found = await services.answering.by_code(form.get("code") or "", user, session, address=address_of(request))
    except (NotFound, TooMany) as error:
        return asked_again(error, partial(_page, visitor, code=""))
    return await _confirmation(services, visitor, found.id, code=spelled(typed(form.get("code") or "") or ""))


async def confirmation(services: Services, visitor: Visitor, request: Request) -> Response:
    return await _confirmation(services, visitor, request.path_params["id"], code="")


async def confirm(services: Services, visitor: Visitor, request: Request, form: Form) -> Response:
    user, _ = visitor.signed_in()
    chosen = form.get("request") or ""
    if form.get("decision") != "mine":
        await services.answering.decline(chosen, user)
        return page("request_done.html", view(visitor, "Declined", allowed=False, is_connecting=False))
    await services.answering.confirm(chosen, user)
    return RedirectResponse(f"/requests/{chosen}", 303)


async def _confirmation(services: Services, visitor: Visitor, request_id: str, *, code: str) -> Response:
    user, _ = visitor.signed_in()
    found, question = await services.answering.question(request_id, user)
    facts = facts_of(found, question, services) | {"code": code}
    return page("device_confirm.html", view(visitor, "Did you start this?", it=facts))


def _page(visitor: Visitor, *, code: str, problem: str = "", status: int = 200) -> Response:
    return page("device.html", view(visitor, "Connect a device", code=code, problem=problem), status=status)


def routes(services: Services) -> list[Route]:
    return [
        shown(services, "/device", show),
        action(services, "/device", enter),
        shown(services, "/device/{id}", confirmation),
        action(services, "/device/confirm", confirm),
    ]
