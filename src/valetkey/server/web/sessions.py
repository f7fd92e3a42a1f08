"""/sessions: the browsers and command lines signed in as oneself; for administrators, those of the organization.

Each can be ended, and is then refused at once.
"""

from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from valetkey.server import endings
from valetkey.server.errors import NotFound
from valetkey.server.oauth.form import Form
from valetkey.server.principals.cli_login.model import CommandLine
from valetkey.server.principals.sessions.model import Session
from valetkey.server.services import Services
from valetkey.server.web.door import Visitor, action, shown, unseated, view
from valetkey.server.web.render import page


async def sessions(services: Services, visitor: Visitor, request: Request) -> Response:
    user, session = visitor.signed_in()
    own = await services.sessions.live_of(user)
    others = [found for found in await services.sessions.live_in(user) if found.user.id != user.id]
    facts = view(
        visitor,
        "Sessions",
        own=[_row(each, is_this=each.id == session.id) for each in own],
        others=[_row(found.session, email=found.user.email) for found in others],
        lines=[_line(line) for line in await services.cli_logins.live_of(user)],
        other_lines=[
            _line(found.line, email=found.user.email)
            for found in await services.cli_logins.live_in(user)
            if found.user.id != user.id
        ],
    )
    return page("sessions.html", facts)


async def end(services: Services, visitor: Visitor, request: Request, form: Form) -> Response:
    user, session = visitor.signed_in()
    ended = form.get("session") or ""
    await services.sessions.end(ended, by=user)
    if ended == session.id:
        return unseated(RedirectResponse("/login", 303))
    return RedirectResponse("/sessions", 303)


async def end_others(services: Services, visitor: Visitor, request: Request, form: Form) -> Response:
    user, session = visitor.signed_in()
    await services.sessions.end_others(session, by=user)
    return RedirectResponse("/sessions", 303)


async def end_command_line(services: Services, visitor: Visitor, request: Request, form: Form) -> Response:
    user, _ = visitor.signed_in()
    ended = form.get("command_line") or ""
    if not await services.cli_logins.is_one(ended):
        raise NotFound("There is no such command line, or it is not yours.")
    await endings.end(services, ended, by=user, reason="signed out")
    return RedirectResponse("/sessions", 303)


def _line(line: CommandLine, *, email: str = "") -> dict[str, Any]:
    return {
        "id": line.id,
        "name": line.name or "",
        "since": _spoken(line.created_at),
        "until": _spoken(line.expires_at),
        "email": email,
    }


def _row(session: Session, *, is_this: bool = False, email: str = "") -> dict[str, Any]:
    return {
        "id": session.id,
        "browser": spoken_browser(session.browser),
        "address": session.address,
        "since": _spoken(session.created_at),
        "last": _spoken(session.last_used_at),
        "is_this": is_this,
        "email": email,
    }


_BROWSERS = (("Edg/", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"), ("Safari/", "Safari"))
_SYSTEMS = (("iPhone", "iPhone"), ("iPad", "iPad"), ("Android", "Android"), ("Windows", "Windows"), ("Mac OS X", "Mac"),
            ("Linux", "Linux"))  # fmt: skip


def spoken_browser(user_agent: str) -> str:
    """A browser as its owner would call it; what is not recognised is shown as it named itself.

    >>> spoken_browser("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0.0.0 Safari/537.36")
    'Chrome on Linux'
    >>> spoken_browser("curl/8"), spoken_browser("")
    ('curl/8', 'An unknown browser')
    """
    browser = next((name for mark, name in _BROWSERS if mark in user_agent), None)
    system = next((name for mark, name in _SYSTEMS if mark in user_agent), None)
    if browser is None:
        return user_agent[:80] or "An unknown browser"
    return f"{browser} on {system}" if system else browser


def _spoken(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%-d %B %Y, %H:%M UTC")


def routes(services: Services) -> list[Route]:
    return [
        shown(services, "/sessions", sessions),
        action(services, "/sessions/end", end),
        action(services, "/sessions/end-others", end_others),
        action(services, "/sessions/end-command-line", end_command_line),
    ]
