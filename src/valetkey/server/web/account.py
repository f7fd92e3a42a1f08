"""/account: how one signs in. Every change needs a proof of the last ten minutes, but for one's very first way in."""

from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from valetkey.server.approvals.notices.model import TITLES, Kind, NoticeAddress
from valetkey.server.errors import InvalidRequest, ValetkeyError
from valetkey.server.oauth.form import Form
from valetkey.server.principals.login.model import FRESH_SECONDS
from valetkey.server.principals.model import CodeMade, User
from valetkey.server.services import Services
from valetkey.server.web.door import Visitor, action, fresh, local_path, shown, view
from valetkey.server.web.render import page
from valetkey.server.web.wording import moment


async def changing(
    services: Services, visitor: Visitor, request: Request, *, back: str = "/account"
) -> Response | None:
    """None when this person may change how they sign in now, else the way to prove themselves again, and back."""
    user, _ = visitor.signed_in()
    # SECURITY: only who has no way in at all is spared the proof they could not give.
    # Guarded by tests/flows/test_passkeys.py::test_changing_ways_needs_a_recent_proof
    if (await services.login.ways.of(user)).count == 0:
        return None
    return fresh(visitor, request, max_age=FRESH_SECONDS, back=back)


async def account(services: Services, visitor: Visitor, request: Request) -> Response:
    return await account_page(services, visitor, request)


async def set_password(services: Services, visitor: Visitor, request: Request, form: Form) -> Response:
    user, session = visitor.signed_in()
    if (elsewhere := await changing(services, visitor, request)) is not None:
        return elsewhere
    if (form.get("password") or "") != (form.get("repeated") or ""):
        return await account_page(services, visitor, request, InvalidRequest("The two passwords differ."))
    try:
        changed = await services.login.passwords.set(user, form.get("password") or "")
    except InvalidRequest as error:
        return await account_page(services, visitor, request, error)
    if changed:
        await services.sessions.end_others(session, by=user)
        await services.cli_logins.end_all_by_browser(user)
    return _back(form)


async def remove_password(services: Services, visitor: Visitor, request: Request, form: Form) -> Response:
    return await _removed(services, visitor, request, "password")


async def begin_one_time(services: Services, visitor: Visitor, request: Request, form: Form) -> Response:
    user, _ = visitor.signed_in()
    if (elsewhere := await changing(services, visitor, request)) is not None:
        return elsewhere
    if not (await services.login.ways.of(user)).has_password:
        raise InvalidRequest("An authenticator app completes a password. Set a password first.")
    setup = await services.login.one_time.begin(user)
    return _setup(visitor, setup.uri.reveal(), setup.groups.reveal())


async def confirm_one_time(services: Services, visitor: Visitor, request: Request, form: Form) -> Response:
    user, _ = visitor.signed_in()
    if (elsewhere := await changing(services, visitor, request)) is not None:
        return elsewhere
    try:
        await services.login.one_time.confirm(user, form.get("code") or "")
    except InvalidRequest as error:
        setup = await services.login.one_time.setup(user)
        if setup is None:
            raise
        return _setup(visitor, setup.uri.reveal(), setup.groups.reveal(), error)
    return await _new_codes(services, visitor, user)


async def remove_one_time(services: Services, visitor: Visitor, request: Request, form: Form) -> Response:
    return await _removed(services, visitor, request, "totp")


async def renew_codes(services: Services, visitor: Visitor, request: Request, form: Form) -> Response:
    user, _ = visitor.signed_in()
    if (elsewhere := await changing(services, visitor, request)) is not None:
        return elsewhere
    if not (await services.login.ways.of(user)).has_one_time:
        raise InvalidRequest("Recovery codes stand in for an authenticator app. Set one up first.")
    return await _new_codes(services, visitor, user)


async def _removed(services: Services, visitor: Visitor, request: Request, way: str) -> Response:
    user, _ = visitor.signed_in()
    if (elsewhere := await changing(services, visitor, request)) is not None:
        return elsewhere
    await services.login.ways.remove(user, "password" if way == "password" else "totp")
    return RedirectResponse("/account", 303)


async def _new_codes(services: Services, visitor: Visitor, user: User) -> Response:
    codes = await services.login.recovery.renew(user)
    return page("recovery.html", view(visitor, "Recovery codes", codes=[code.reveal() for code in codes]))


def _setup(visitor: Visitor, uri: str, groups: str, error: ValetkeyError | None = None) -> Response:
    facts = view(
        visitor, "Authenticator app", uri=uri, groups=groups, problem=error.public if error is not None else ""
    )
    return page("one_time.html", facts, status=200 if error is None else 400)


async def account_page(
    services: Services, visitor: Visitor, request: Request, error: ValetkeyError | None = None
) -> Response:
    """The page, with what went wrong."""
    user, _ = visitor.signed_in()
    ways = await services.login.ways.of(user)
    providers = await services.login.providers.of(user)
    made = await services.enroll.told_of(user)
    linked = {identity.issuer for identity in ways.identities}
    facts = view(
        visitor,
        "Account",
        ways=ways,
        may_change=await changing(services, visitor, request) is None,
        told=_told(made) if made is not None else None,
        linked=[provider for provider in providers if provider.issuer in linked],
        others=[provider for provider in providers if provider.issuer not in linked],
        notices=[(one, _reached(one)) for one in await services.notice_addresses.of(user)],
        notice_kinds=[(kind.value, TITLES[kind]) for kind in services.notice_addresses.kinds],
        mails=Kind.MAIL in services.notice_addresses.kinds,
        next=local_path(request.query_params.get("next")),
        problem=error.public if error is not None else "",
    )
    return page(
        "account.html",
        facts,
        status=200 if error is None else 400,
        script=True,
        submits_to=sorted({provider.origin for provider in providers}),
    )


def _told(made: CodeMade) -> dict[str, str]:
    used = "" if made.used_at is None else moment(made.used_at)
    return {"by": made.by, "made": moment(made.made_at), "used": used}


def _reached(address: NoticeAddress) -> str:
    if address.confirmed_at is None:
        return address.problem or "not confirmed yet: type the code that was mailed there"
    last = "nothing sent yet" if address.told_at is None else f"last reached {moment(address.told_at)}"
    if not address.failures:
        return last
    times = "once" if address.failures == 1 else f"{address.failures} times"
    return f"failed {times} since: {address.problem}; {last}"


def _back(form: Form) -> Response:
    wanted = local_path(form.get("next"))
    return RedirectResponse("/account" if wanted == "/" else f"/account?next={quote(wanted, safe='')}", 303)


def routes(services: Services) -> list[Route]:
    return [
        shown(services, "/account", account),
        action(services, "/account/password", set_password),
        action(services, "/account/password/remove", remove_password),
        action(services, "/account/one-time", begin_one_time),
        action(services, "/account/one-time/confirm", confirm_one_time),
        action(services, "/account/one-time/remove", remove_one_time),
        action(services, "/account/recovery", renew_codes),
    ]
