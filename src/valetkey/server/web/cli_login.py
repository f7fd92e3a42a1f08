"""/login/cli: a program at this computer asks to act as the person. What it sent is read before anything else happens.

Only her answer leads back to the program, and only to this very computer; every refusal is a page. A program on a
computer without a browser has its code shown here, and she carries it: whoever sent her the link gets nothing by her
yes alone.
"""

from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from valetkey.server.oauth.form import Form, parse_form
from valetkey.server.principals.cli_login.model import Asked, asked
from valetkey.server.principals.login.model import FRESH_SECONDS
from valetkey.server.services import Services
from valetkey.server.web.door import Visitor, action, fresh, shown, to_sign_in, view
from valetkey.server.web.render import page
from valetkey.server.web.wording import moment

_FORM = "application/x-www-form-urlencoded"


async def show(services: Services, visitor: Visitor, request: Request) -> Response:
    wanted = asked(parse_form(_FORM, request.scope["query_string"]).single)
    if visitor.user is None:
        return to_sign_in(request)
    # SECURITY: a browser left open is not enough to take everything this person may do out of it for a month.
    # Guarded by tests/flows/test_cli_login.py::test_who_signed_in_long_ago_proves_it_again
    if (elsewhere := fresh(visitor, request, max_age=FRESH_SECONDS)) is not None:
        return elsewhere
    submits_to = () if wanted.is_shown else (wanted.origin,)
    return page("cli_login.html", _facts(services, visitor, wanted), submits_to=submits_to)


async def answer(services: Services, visitor: Visitor, request: Request, form: Form) -> Response:
    user, session = visitor.signed_in()
    wanted = asked({name: value for name, value in form.single.items() if name not in ("csrf", "decision")})
    if form.get("decision") != "allow":
        await services.cli_logins.decline(user, session, wanted)
        if wanted.is_shown:
            return page("cli_code.html", view(visitor, "Cancelled", code=""))
        return _back(services, wanted, error="access_denied")
    back = f"/login/cli?{urlencode(wanted.fields())}"
    if (elsewhere := fresh(visitor, request, max_age=FRESH_SECONDS, back=back)) is not None:
        return elsewhere
    code = await services.cli_logins.allow(user, session, wanted)
    if wanted.is_shown:
        return page(
            "cli_code.html",
            view(
                visitor,
                "Your code",
                code=code.reveal(),
                name=wanted.unverified_name,
                comparison=wanted.comparison,
                minutes=wanted.seconds // 60,
            ),
        )
    return _back(services, wanted, code=code.reveal())


def _back(services: Services, wanted: Asked, **said: str) -> Response:
    """RFC 6749 section 4.1.2, RFC 9207 section 2."""
    query = urlencode(said | {"state": wanted.state, "iss": services.settings.issuer})
    return RedirectResponse(f"{wanted.redirect_uri}?{query}", 303)


def _facts(services: Services, visitor: Visitor, wanted: Asked) -> dict[str, Any]:
    user, _ = visitor.signed_in()
    return view(
        visitor,
        "Sign in a command line",
        name=wanted.unverified_name,
        place=wanted.origin.removeprefix("http://"),
        comparison=wanted.comparison if wanted.is_shown else "",
        is_administrator=user.is_administrator,
        until=moment(services.cli_logins.ends_at()),
        hidden=wanted.fields(),
    )


def routes(services: Services) -> list[Route]:
    return [shown(services, "/login/cli", show, open_to_all=True), action(services, "/login/cli", answer)]
