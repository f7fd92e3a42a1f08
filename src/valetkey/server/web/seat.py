"""Putting somebody who proved themselves into a session: always a new one, whatever the browser held before (UI-05)."""

from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from valetkey.server.principals.model import User
from valetkey.server.services import Services
from valetkey.server.web.door import Visitor, address_of, local_path, seated


async def seat(
    services: Services,
    visitor: Visitor,
    request: Request,
    user: User,
    amr: tuple[str, ...],
    *,
    wanted: str | None,
    again: str = "",
    acr: str | None = None,
    auth_time: int | None = None,
    to_account: bool = False,
) -> Response:
    """Begin the session and go where the browser wanted to go.

    `again` is the id of who was asked to prove themselves again: somebody else signs in, but does not go on with what
    that person was doing. `to_account` shows them how they sign in first; who has no way to, always sees it.
    """
    before = visitor.session
    if before is not None and visitor.user is not None and visitor.user.id != user.id:
        await services.sessions.end(before.id, by=visitor.user)
        before = None
    _, handle = await services.sessions.begin(
        user,
        amr,
        browser=request.headers.get("user-agent", ""),
        address=address_of(request),
        acr=acr,
        auth_time=auth_time,
        instead_of=before,
    )
    landing = local_path(wanted) if again in ("", user.id) else "/"
    if to_account or (await services.login.ways.of(user)).count == 0:
        landing = "/account" if landing == "/" else f"/account?next={quote(landing, safe='')}"
    return seated(RedirectResponse(landing, 303), handle)
