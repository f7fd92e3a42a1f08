"""Where one is told that a call waits: a part of /account, without script; and this browser, a button on /approvals."""

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from valetkey.server.errors import Conflict, InvalidRequest, TooMany
from valetkey.server.oauth.form import Form
from valetkey.server.services import Services
from valetkey.server.web.account import account_page, changing
from valetkey.server.web.door import Visitor, action
from valetkey.server.web.render import MANIFEST, MANIFEST_HEADERS, WORKER, WORKER_HEADERS
from valetkey.server.web.sessions import spoken_browser


async def add(services: Services, visitor: Visitor, request: Request, form: Form) -> Response:
    user, _ = visitor.signed_in()
    if (elsewhere := await changing(services, visitor, request)) is not None:
        return elsewhere
    try:
        await services.notice_addresses.add(user, form.get("kind") or "", form.get("address") or "")
    except (InvalidRequest, Conflict) as error:
        return await account_page(services, visitor, request, error)
    return _back()


async def confirm(services: Services, visitor: Visitor, request: Request, form: Form) -> Response:
    user, _ = visitor.signed_in()
    if (elsewhere := await changing(services, visitor, request)) is not None:
        return elsewhere
    try:
        await services.notice_addresses.confirm(user, form.get("notice") or "", form.get("code") or "")
    except InvalidRequest as error:
        return await account_page(services, visitor, request, error)
    return _back()


async def add_browser(services: Services, visitor: Visitor, request: Request, form: Form) -> Response:
    user, _ = visitor.signed_in()
    if (elsewhere := await changing(services, visitor, request, back="/approvals")) is not None:
        return elsewhere
    browser = spoken_browser(request.headers.get("user-agent", ""))
    try:
        await services.notice_addresses.add_browser(user, form.get("subscription") or "", browser=browser)
    except (InvalidRequest, Conflict) as error:
        return await account_page(services, visitor, request, error)
    return _back()


async def worker(_: Request) -> Response:
    """The script that shows notices in a browser that asked for them; it must lie at the root to be there for all."""
    return Response(WORKER, headers=WORKER_HEADERS)


async def manifest(_: Request) -> Response:
    """How the pages stand on a home screen. Nothing in it is anybody's: it is fetched without a session."""
    return Response(MANIFEST, headers=MANIFEST_HEADERS)


async def remove(services: Services, visitor: Visitor, request: Request, form: Form) -> Response:
    user, _ = visitor.signed_in()
    if (elsewhere := await changing(services, visitor, request)) is not None:
        return elsewhere
    await services.notice_addresses.remove(user, form.get("notice") or "")
    return _back()


async def try_out(services: Services, visitor: Visitor, request: Request, form: Form) -> Response:
    user, _ = visitor.signed_in()
    try:
        await services.notice_addresses.try_out(user, form.get("notice") or "")
    except (TooMany, InvalidRequest) as error:
        return await account_page(services, visitor, request, error)
    return _back()


def _back() -> Response:
    return RedirectResponse("/account#notices", 303)


def routes(services: Services) -> list[Route]:
    return [
        action(services, "/account/notices", add),
        action(services, "/account/notices/browser", add_browser),
        action(services, "/account/notices/confirm", confirm),
        action(services, "/account/notices/remove", remove),
        action(services, "/account/notices/try", try_out),
        Route("/worker.js", worker, methods=["GET"]),
        Route("/manifest.webmanifest", manifest, methods=["GET"]),
    ]
