"""The company's sign-in: to the provider and back, linking it to an account, and registering it."""

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from valetkey.server.errors import Denied, InvalidRequest, ValetkeyError
from valetkey.server.oauth.form import Form
from valetkey.server.principals.login.model import FRESH_SECONDS
from valetkey.server.principals.login.sso import SsoAnswer
from valetkey.server.secret import Secret
from valetkey.server.services import Services
from valetkey.server.web.account import changing
from valetkey.server.web.door import Visitor, action, fresh, refused, shown, view
from valetkey.server.web.render import page
from valetkey.server.web.seat import seat
from valetkey.server.web.sign_in import Wish, sign_in_page


async def begin(services: Services, visitor: Visitor, request: Request, form: Form) -> Response:
    wish = Wish.of_form(form)
    try:
        address = await services.login.sso.begin(
            form.get("provider") or "", browser=visitor.browser, wanted=wish.next, again=wish.again
        )
    except ValetkeyError as error:
        return await sign_in_page(services, visitor, wish, error)
    return RedirectResponse(address, 303)


async def callback(services: Services, visitor: Visitor, request: Request) -> Response:
    try:
        return await _came_back(services, visitor, request)
    except ValetkeyError as error:
        leads = "/account" if visitor.user is not None else "/login"
        return refused(visitor, error, links=[{"href": leads, "text": "Back"}])


async def _came_back(services: Services, visitor: Visitor, request: Request) -> Response:
    asked = request.query_params
    names = ("state", "code", "iss", "error")
    if any(len(asked.getlist(name)) > 1 for name in names):
        raise InvalidRequest("A parameter occurs twice.")
    answer = SsoAnswer(
        state=Secret(asked.get("state", "")),
        code=asked.get("code", ""),
        iss=asked.get("iss"),
        error=asked.get("error", ""),
    )
    found = await services.login.sso.finish(
        request.path_params["provider"], answer, browser=visitor.browser, present=visitor.user
    )
    if found.linked:
        return RedirectResponse("/account", 303)
    return await seat(
        services,
        visitor,
        request,
        found.user,
        found.amr,
        wanted=found.wanted,
        again=found.again,
        acr=found.acr,
        auth_time=found.auth_time,
    )


async def link(services: Services, visitor: Visitor, request: Request, form: Form) -> Response:
    user, _ = visitor.signed_in()
    if (elsewhere := await changing(services, visitor, request)) is not None:
        return elsewhere
    address = await services.login.sso.begin(
        form.get("provider") or "", browser=visitor.browser, wanted="/account", link=user
    )
    return RedirectResponse(address, 303)


async def unlink(services: Services, visitor: Visitor, request: Request, form: Form) -> Response:
    user, _ = visitor.signed_in()
    if (elsewhere := await changing(services, visitor, request)) is not None:
        return elsewhere
    await services.login.ways.remove(user, "sso", form.get("issuer") or "")
    return RedirectResponse("/account", 303)


async def registered(services: Services, visitor: Visitor, request: Request) -> Response:
    return await _registered(services, visitor)


async def register(services: Services, visitor: Visitor, request: Request, form: Form) -> Response:
    user, _ = visitor.signed_in()
    if (elsewhere := fresh(visitor, request, max_age=FRESH_SECONDS, back="/admin/sign-in")) is not None:
        return elsewhere
    secret = form.get("client_secret")
    try:
        await services.login.providers.add(
            by=user,
            name=form.get("name") or "",
            issuer=(form.get("issuer") or "").strip(),
            client_id=form.get("client_id") or "",
            secret=None if secret is None else Secret(secret),
            group_claim=(form.get("group_claim") or "").strip(),
            roles=dict.fromkeys(_lines(form.get("administrators")), "administrator"),
            enrolls=form.get("enrolls") == "1",
            domains=tuple(_lines(form.get("domains"))),
        )
    except ValetkeyError as error:
        if isinstance(error, Denied):
            raise
        return await _registered(services, visitor, error)
    return RedirectResponse("/admin/sign-in", 303)


async def unregister(services: Services, visitor: Visitor, request: Request, form: Form) -> Response:
    user, _ = visitor.signed_in()
    if (elsewhere := fresh(visitor, request, max_age=FRESH_SECONDS, back="/admin/sign-in")) is not None:
        return elsewhere
    await services.login.providers.remove(form.get("provider") or "", by=user)
    return RedirectResponse("/admin/sign-in", 303)


async def _registered(services: Services, visitor: Visitor, error: ValetkeyError | None = None) -> Response:
    user, _ = visitor.signed_in()
    if not user.is_administrator:
        raise Denied("Only an administrator can do this.", reason="not_administrator")
    providers = await services.login.providers.of(user)
    facts = view(
        visitor,
        "Sign-in of your organization",
        providers=[{"about": p, "callback": services.login.sso.callback(p.id)} for p in providers],
        base=services.settings.issuer,
        problem=error.public if error is not None else "",
    )
    return page("admin_sign_in.html", facts, status=200 if error is None else 400)


def _lines(text: str | None) -> list[str]:
    return [line.strip() for line in (text or "").replace(",", "\n").splitlines() if line.strip()]


def routes(services: Services) -> list[Route]:
    return [
        action(services, "/login/sso", begin, open_to_all=True),
        shown(services, "/login/sso/{provider}/callback", callback, open_to_all=True),
        action(services, "/account/sso", link),
        action(services, "/account/sso/remove", unlink),
        shown(services, "/admin/sign-in", registered),
        action(services, "/admin/sign-in", register),
        action(services, "/admin/sign-in/remove", unregister),
    ]
