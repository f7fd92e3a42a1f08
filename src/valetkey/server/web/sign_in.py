"""/login, /logout and the page one lands on. Who proves themselves gets a session and goes where they wanted to go."""

import unicodedata
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from valetkey.server.errors import InvalidRequest, NotAuthenticated, NotFound, TooMany, ValetkeyError
from valetkey.server.oauth.form import Form
from valetkey.server.principals import store as principals
from valetkey.server.principals.login.model import LONGEST_PASSWORD
from valetkey.server.principals.model import checked_email
from valetkey.server.principals.sessions.model import ACR_ONE, ACR_PASSKEY, ACR_TWO, LEVELS
from valetkey.server.secret import Secret
from valetkey.server.services import Services
from valetkey.server.web.door import Visitor, action, address_of, local_path, shown, unseated, view
from valetkey.server.web.render import page, static
from valetkey.server.web.seat import seat

WRONG = "The e-mail address or the password is not right."
_WRONG_CODE = "This code is not right, or was used already."


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the browser came to /login for. `again` is the id of who has to prove themselves once more."""

    next: str
    again: str
    acr: str

    @classmethod
    def of_form(cls, form: Form) -> "Wish":
        return cls(next=local_path(form.get("next")), again=form.get("again") or "", acr=form.get("acr") or "")


async def home(services: Services, visitor: Visitor, request: Request) -> Response:
    return page("home.html", view(visitor, "Home"))


async def login(services: Services, visitor: Visitor, request: Request) -> Response:
    asked = request.query_params
    is_again = asked.get("again") == "1" and visitor.user is not None
    if visitor.user is not None and not is_again:
        return RedirectResponse(local_path(asked.get("next")), 303)
    wish = Wish(
        next=local_path(asked.get("next")),
        again=visitor.user.id if visitor.user is not None else "",
        acr=" ".join(level for level in asked.get("acr", "").split() if level in LEVELS),
    )
    return await sign_in_page(services, visitor, wish)


async def by_code(services: Services, visitor: Visitor, request: Request, form: Form) -> Response:
    wish = Wish.of_form(form)
    code = Secret("".join((form.get("code") or "").split()))
    try:
        user = await services.enroll.welcome(
            code, email=form.get("email") or "", organization=form.get("organization") or ""
        )
    except (NotAuthenticated, InvalidRequest) as error:
        return await sign_in_page(services, visitor, wish, error, is_by_code=True)
    # Who comes by a code has lost something, or is new: they see first how they sign in, and what is theirs no more.
    return await seat(
        services,
        visitor,
        request,
        user,
        ("otp",),
        wanted=wish.next,
        again=wish.again,
        acr=ACR_ONE,
        to_account=True,
    )


async def by_password(services: Services, visitor: Visitor, request: Request, form: Form) -> Response:
    wish, people = Wish.of_form(form), services.login
    email = _canonical(form.get("email") or "")
    user = await people.people.by_email(email)
    try:
        attempt = await people.attempts.begin(email, address_of(request), user=user)
        try:
            right = await people.passwords.matches(user, _as_typed(form.get("password") or ""))
        except TooMany:
            await people.attempts.not_judged(attempt)
            raise
    except TooMany as error:
        return await sign_in_page(services, visitor, wish, error)
    if not right or user is None:
        await people.attempts.did_fail(attempt, user)
        return await sign_in_page(services, visitor, wish, InvalidRequest(WRONG))
    await people.attempts.succeeded(attempt)
    if not await people.one_time.is_asked(user):
        return await seat(services, visitor, request, user, ("pwd",), wanted=wish.next, again=wish.again)
    step = await people.steps.begin("second", browser=visitor.browser, user=user.id, wanted=wish.next, again=wish.again)
    return page("second.html", view(visitor, "Your code", step=step.reveal(), problem=""))


async def by_second(services: Services, visitor: Visitor, request: Request, form: Form) -> Response:
    people, handle = services.login, Secret(form.get("step") or "")
    step = await people.steps.look("second", handle, browser=visitor.browser)
    user = await people.people.by_id(step.user or "")
    if user is None:
        raise NotAuthenticated("You cannot sign in here now.")
    code = form.get("code") or ""
    try:
        attempt = await people.attempts.begin(f"second {user.id}", address_of(request), user=user, strictly=True)
    except TooMany as error:
        return _second(visitor, handle, error)
    if not await people.one_time.matches(user, code) and not await people.recovery.use(user, code):
        await people.attempts.did_fail(attempt, user)
        return _second(visitor, handle, InvalidRequest(_WRONG_CODE))
    await people.steps.spend("second", handle, browser=visitor.browser)
    await people.attempts.succeeded(attempt)
    return await seat(
        services,
        visitor,
        request,
        user,
        ("pwd", "otp", "mfa"),
        wanted=str(step.facts["wanted"]),
        again=str(step.facts["again"]),
    )


async def logout(services: Services, visitor: Visitor, request: Request, form: Form) -> Response:
    user, session = visitor.signed_in()
    await services.sessions.end(session.id, by=user)
    return unseated(RedirectResponse("/login", 303))


async def sign_in_page(
    services: Services, visitor: Visitor, wish: Wish, error: ValetkeyError | None = None, *, is_by_code: bool = False
) -> Response:
    """The page, with what went wrong the last time. Ways that cannot reach the level asked for are not shown.

    As long as nobody exists the printed code is the only way, so it is open; else it is for who says to have one.
    """
    async with services.database.read() as db:
        is_new = not await principals.has_organization(db)
    providers = await services.login.providers.offered()
    levels = wish.acr.split()
    facts = view(
        visitor,
        "Prove it is you" if wish.again else "Sign in",
        wish=wish,
        problem=error.public if error is not None else "",
        is_new=is_new,
        is_by_code=is_new or is_by_code,
        providers=[p for p in providers if visitor.user is None or p.org == visitor.user.org],
        passkey_only=bool(levels) and all(level == ACR_PASSKEY for level in levels),
        two_needed=bool(levels) and ACR_ONE not in levels and ACR_TWO in levels,
    )
    response = page(
        "login.html",
        facts,
        status=_status(error),
        script=True,
        submits_to=sorted({provider.origin for provider in providers}),
    )
    return _patient(response, error)


def _second(visitor: Visitor, handle: Secret, error: ValetkeyError) -> Response:
    facts = view(visitor, "Your code", step=handle.reveal(), problem=error.public)
    return _patient(page("second.html", facts, status=_status(error)), error)


def _status(error: ValetkeyError | None) -> int:
    return 200 if error is None else 429 if isinstance(error, TooMany) else 400


def _patient(response: Response, error: ValetkeyError | None) -> Response:
    if isinstance(error, TooMany):
        response.headers["retry-after"] = str(error.retry_after)
    return response


def _canonical(text: str) -> str:
    """The address in its one spelling. What is no address stands for itself, so that it is counted like one."""
    try:
        return checked_email(text)
    except InvalidRequest:
        return unicodedata.normalize("NFKC", text).strip().lower()[:320]


def _as_typed(text: str) -> Secret:
    # What is longer than any password is cut where it can match none; it is hashed all the same.
    return Secret(unicodedata.normalize("NFKC", text)[: LONGEST_PASSWORD + 1])


async def _file(request: Request) -> Response:
    found = static(request.path_params["name"], request.path_params["digest"])
    if found is None:
        raise NotFound("There is no such file.")
    return found


async def _change_password(request: Request) -> Response:
    return RedirectResponse("/account", 303)


def routes(services: Services) -> list[Route]:
    return [
        shown(services, "/", home),
        shown(services, "/login", login, open_to_all=True),
        action(services, "/login/code", by_code, open_to_all=True),
        action(services, "/login/password", by_password, open_to_all=True),
        action(services, "/login/second", by_second, open_to_all=True),
        action(services, "/logout", logout),
        Route("/.well-known/change-password", _change_password, methods=["GET"]),
        Route("/static/{digest}/{name}", _file, methods=["GET"]),
    ]
