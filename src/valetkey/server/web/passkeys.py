"""Passkeys in the browser: our script asks for a challenge, lets the browser answer it, and sends a plain form."""

import base64
import binascii

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from valetkey.server.errors import Denied, InvalidRequest, NotAuthenticated, NotFound
from valetkey.server.oauth.form import Form
from valetkey.server.secret import Secret
from valetkey.server.services import Services
from valetkey.server.web.account import changing
from valetkey.server.web.door import Visitor, action
from valetkey.server.web.seat import seat
from valetkey.server.web.sign_in import Wish, sign_in_page

_NO_STORE = {"cache-control": "no-store"}


async def begin(services: Services, visitor: Visitor, request: Request, form: Form) -> Response:
    return JSONResponse(await services.login.passkeys.begin(browser=visitor.browser), headers=_NO_STORE)


async def sign_in(services: Services, visitor: Visitor, request: Request, form: Form) -> Response:
    wish = Wish.of_form(form)
    try:
        user = await services.login.passkeys.proven(
            Secret(form.get("step") or ""), form.get("credential") or "", browser=visitor.browser
        )
    except (NotAuthenticated, InvalidRequest, Denied) as error:
        return await sign_in_page(services, visitor, wish, error)
    return await seat(services, visitor, request, user, ("hwk", "user"), wanted=wish.next, again=wish.again)


async def begin_new(services: Services, visitor: Visitor, request: Request, form: Form) -> Response:
    user, _ = visitor.signed_in()
    if await changing(services, visitor, request) is not None:
        raise Denied("Prove it is you first: reload this page.", reason="not_fresh")
    return JSONResponse(await services.login.passkeys.begin_new(user, browser=visitor.browser), headers=_NO_STORE)


async def add(services: Services, visitor: Visitor, request: Request, form: Form) -> Response:
    user, _ = visitor.signed_in()
    if (elsewhere := await changing(services, visitor, request)) is not None:
        return elsewhere
    await services.login.passkeys.add(
        user,
        Secret(form.get("step") or ""),
        form.get("credential") or "",
        name=form.get("name") or "",
        browser=visitor.browser,
    )
    return RedirectResponse("/account", 303)


async def remove(services: Services, visitor: Visitor, request: Request, form: Form) -> Response:
    user, _ = visitor.signed_in()
    if (elsewhere := await changing(services, visitor, request)) is not None:
        return elsewhere
    await services.login.ways.remove(user, "passkey", _credential(form.get("passkey") or ""))
    return RedirectResponse("/account", 303)


def _credential(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError) as error:
        raise NotFound("There is no such passkey, or it is not yours.") from error


def routes(services: Services) -> list[Route]:
    return [
        action(services, "/login/passkey/begin", begin, open_to_all=True),
        action(services, "/login/passkey", sign_in, open_to_all=True),
        action(services, "/account/passkeys/begin", begin_new),
        action(services, "/account/passkeys", add),
        action(services, "/account/passkeys/remove", remove),
    ]
