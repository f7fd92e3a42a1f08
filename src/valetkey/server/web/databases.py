"""/admin/databases: the organization's databases, for administrators. The address is read once, never shown again."""

from typing import Final, get_args

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from valetkey.server.connections import store
from valetkey.server.connections.databases.connect import kind_of
from valetkey.server.connections.databases.everybody import Everybody
from valetkey.server.connections.model import checked_name
from valetkey.server.connections.status import statuses
from valetkey.server.errors import Denied, InvalidRequest, ValetkeyError
from valetkey.server.oauth.form import Form
from valetkey.server.principals.login.model import FRESH_SECONDS
from valetkey.server.secret import Secret
from valetkey.server.services import Services
from valetkey.server.web.door import Visitor, action, fresh, shown, view
from valetkey.server.web.render import page

_PATH: Final = "/admin/databases"
_ANSWERS: Final[tuple[Everybody, ...]] = get_args(Everybody)


async def show(services: Services, visitor: Visitor, request: Request) -> Response:
    return await _page(services, visitor)


async def connect(services: Services, visitor: Visitor, request: Request, form: Form) -> Response:
    user, _ = visitor.signed_in()
    if (elsewhere := fresh(visitor, request, max_age=FRESH_SECONDS, back=_PATH)) is not None:
        return elsewhere
    try:
        said = form.get("everybody") or "refuse"
        public = next((one for one in _ANSWERS if one == said), None)
        if public is None:
            raise InvalidRequest("What everybody may do is looked at, taken away or kept.", detail=said[:80])
        name = checked_name((form.get("name") or "").strip() or None)
        address = Secret((form.get("address") or "").strip())
        await services.databases.connect(kind_of(address), address, name=name, public=public, by=user)
    except ValetkeyError as error:
        if isinstance(error, Denied):
            raise
        return await _page(services, visitor, error, name=(form.get("name") or "")[:64])
    return RedirectResponse(_PATH, 303)


async def _page(
    services: Services, visitor: Visitor, error: ValetkeyError | None = None, *, name: str = ""
) -> Response:
    user, _ = visitor.signed_in()
    if not user.is_administrator:
        raise Denied("Only an administrator can do this.", reason="not_administrator")
    async with services.database.read() as db:
        found = [one for one in await store.databases(db) if one.facts.org == user.org]
        status = await statuses(db, [one.facts.id for one in found])
    connected = [one.facts for one in found if status[one.facts.id] != "revoked"]
    statements = [] if error is None else error.members.get("statements", [])
    facts = view(
        visitor, "Databases of your organization", connected=connected, problem=error, statements=statements, name=name
    )
    return page("admin_databases.html", facts, status=200 if error is None else 400)


def routes(services: Services) -> list[Route]:
    return [shown(services, _PATH, show), action(services, _PATH, connect)]
