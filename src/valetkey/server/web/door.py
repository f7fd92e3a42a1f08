"""The door of the pages: whose browser it is, that a form was sent by our own page, and every refusal as a page.

All changes are POST with a token bound to the browser and an Origin of ours (UI-01). A browser that is not signed in
holds a handle of its own, so that signing in is protected by the same rule.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from valetkey.server.errors import Denied, InvalidRequest, NotAuthenticated, TooMany, ValetkeyError
from valetkey.server.ids import is_handle, new_handle, new_id
from valetkey.server.oauth.form import LARGEST_FORM, Form, parse_form
from valetkey.server.principals.model import User
from valetkey.server.principals.sessions.model import Session, meets
from valetkey.server.problems import log, log_bug, problem, status_of
from valetkey.server.secret import Secret
from valetkey.server.services import Services
from valetkey.server.web.render import page

SESSION_COOKIE = "__Host-valetkey"
GUEST_COOKIE = "__Host-valetkey-guest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """Who looks at a page, and when. `csrf` goes into every form of it; `guest` names a browser not signed in.

    `browser` stands for this very browser in what is remembered for it; it is never sent anywhere.
    """

    session: Session | None
    user: User | None
    guest: Secret
    csrf: str
    browser: str
    now: float

    def signed_in(self) -> tuple[User, Session]:
        """The user and the session of a page that needs them."""
        if self.user is None or self.session is None:
            raise NotAuthenticated("Sign in first.")
        return self.user, self.session


Page = Callable[[Services, Visitor, Request], Awaitable[Response]]
Action = Callable[[Services, Visitor, Request, Form], Awaitable[Response]]


def shown(services: Services, path: str, handler: Page, *, open_to_all: bool = False) -> Route:
    """A page to look at. Who is not signed in is sent to do that, and comes back."""

    async def endpoint(request: Request) -> Response:
        async def work(visitor: Visitor) -> Response:
            if visitor.user is None and not open_to_all:
                return to_sign_in(request)
            return await handler(services, visitor, request)

        return await _answered(services, request, work)

    return Route(path, endpoint, methods=["GET"])


def action(services: Services, path: str, handler: Action, *, open_to_all: bool = False) -> Route:
    """A form sent from one of our pages."""

    async def endpoint(request: Request) -> Response:
        async def work(visitor: Visitor) -> Response:
            form = await _form(services, visitor, request)
            if visitor.user is None and not open_to_all:
                raise NotAuthenticated("Your session has ended. Sign in and try again.")
            return await handler(services, visitor, request, form)

        return await _answered(services, request, work)

    return Route(path, endpoint, methods=["POST"])


def view(visitor: Visitor, title: str, **facts: Any) -> dict[str, Any]:
    """What every template needs, and what this one needs besides."""
    return {"title": title, "user": visitor.user, "csrf": visitor.csrf, **facts}


def to_sign_in(request: Request) -> Response:
    """To the sign-in page, and afterwards back to where the browser wanted to go."""
    wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse(f"/login?next={quote(wanted, safe='')}", 303)


def fresh(
    visitor: Visitor,
    request: Request,
    *,
    max_age: int | None = None,
    acr_values: tuple[str, ...] = (),
    back: str | None = None,
) -> Response | None:
    """None when the person proved themselves recently and well enough; else the way to do so, and back (RFC 9470).

    `back` is where to come back to; a page that is looked at comes back to itself.
    """
    _, session = visitor.signed_in()
    if (max_age is None or session.is_fresh(visitor.now, max_age)) and meets(session.acr, acr_values):
        return None
    wanted = back or request.url.path + (f"?{request.url.query}" if request.url.query else "")
    asked = {"next": wanted, "again": "1"} | ({"acr": " ".join(acr_values)} if acr_values else {})
    return RedirectResponse(f"/login?{urlencode(asked)}", 303)


def address_of(request: Request) -> str:
    """Where the browser is, as far as this server, or a proxy it trusts, can see."""
    return request.client.host if request.client is not None else ""


def local_path(text: str | None) -> str:
    """Where to go after signing in: a path of ours, never another site.

    >>> local_path("/agents?x=1"), local_path("//evil.example"), local_path("/\\\\evil.example"), local_path(None)
    ('/agents?x=1', '/', '/', '/')
    """
    if not text or not text.startswith("/") or text.startswith("//") or not text.isascii() or not text.isprintable():
        return "/"
    return "/" if "\\" in text else text


def seated(response: Response, handle: Secret) -> Response:
    """Put the browser into its session."""
    _set(response, SESSION_COOKIE, handle.reveal())
    response.delete_cookie(GUEST_COOKIE, path="/", secure=True, httponly=True, samesite="lax")
    return response


def unseated(response: Response) -> Response:
    """Take the browser out of its session."""
    response.delete_cookie(SESSION_COOKIE, path="/", secure=True, httponly=True, samesite="lax")
    return response


async def visitor_of(services: Services, request: Request) -> Visitor:
    """Whose browser this is."""
    cookie = Secret(request.cookies.get(SESSION_COOKIE, ""))
    found = await services.sessions.of(cookie)
    guest = Secret(request.cookies.get(GUEST_COOKIE, ""))
    if not is_handle(guest.reveal(), "gu"):
        guest = new_handle("gu")
    holder = cookie if found is not None else guest
    kind = "se" if found is not None else "gu"
    return Visitor(
        session=found.session if found is not None else None,
        user=found.user if found is not None else None,
        guest=guest,
        csrf=services.mac.mac("form", kind, holder).hex(),
        browser=services.mac.mac("browser", kind, holder).hex(),
        now=services.clock.now(),
    )


async def _form(services: Services, visitor: Visitor, request: Request) -> Form:
    """The form, sent by a page of ours in this very browser. Raises `Denied` for any other origin."""
    origin = request.headers.get("origin", "null")
    # NOTE: our pages send no referrer, which makes browsers send `Origin: null`; the fetch metadata then tells.
    ours = origin == services.settings.origin or (
        origin == "null" and request.headers.get("sec-fetch-site") == "same-origin"
    )
    if not ours:
        raise Denied("This form was not sent from a page of this server.", reason="origin")
    received = b""
    async for chunk in request.stream():
        received += chunk
        if len(received) > LARGEST_FORM:
            raise InvalidRequest(f"The form is larger than {LARGEST_FORM} bytes.")
    form = parse_form(request.headers.get("content-type", ""), received, repeatable=True)
    if form.get("csrf") != visitor.csrf:
        raise Denied("This form is out of date. Go back, reload the page and try again.", reason="csrf")
    return form


async def _answered(services: Services, request: Request, work: Callable[[Visitor], Awaitable[Response]]) -> Response:
    visitor = await visitor_of(services, request)
    try:
        response = await work(visitor)
    except Exception as error:  # the one translation of this door
        response = refused(visitor, error)
    if visitor.user is None and request.cookies.get(GUEST_COOKIE) != visitor.guest.reveal():
        _set(response, GUEST_COOKIE, visitor.guest.reveal())
    return response


def refused(visitor: Visitor, error: Exception, *, links: Sequence[Mapping[str, str]] = ()) -> Response:
    """A refusal as a page: what happened, why, and the next step."""
    request_id = new_id("aud")
    document = problem(error, request_id=request_id)
    if not isinstance(error, ValetkeyError):
        log_bug(error, request_id)
    elif status_of(error) >= 500:
        log.warning("%s %s: %s", error.code, request_id, type(error.__cause__ or error).__name__)
    facts = view(visitor, "This did not work", problem=document, links=links)
    response = page("refused.html", facts, status=status_of(error))
    if isinstance(error, TooMany):
        response.headers["retry-after"] = str(error.retry_after)
    return response


def _set(response: Response, name: str, value: str) -> None:
    # SECURITY: `__Host-` cookies: https (or loopback), this host only, every path; scripts never see them.
    response.set_cookie(name, value, path="/", secure=True, httponly=True, samesite="lax")
