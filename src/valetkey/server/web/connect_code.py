"""/connect: a person types or compares the code that was shown where an account began to be connected.

The address that holds the code only fills it in: nothing happens before she says so, signed in as herself.
"""

from functools import partial

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from valetkey.server.errors import NotFound, TooMany
from valetkey.server.oauth.form import Form
from valetkey.server.principals.user_codes import spelled, typed
from valetkey.server.services import Services
from valetkey.server.web.door import Visitor, action, address_of, shown, view
from valetkey.server.web.render import page
from valetkey.server.web.typed_code import asked_again


async def show(services: Services, visitor: Visitor, request: Request) -> Response:
    code = typed(request.query_params.get("code", ""))
    return _page(visitor, code=spelled(code) if code is not None else "")


async def enter(services: Services, visitor: Visitor, request: Request, form: Form) -> Response:
    user, session = visitor.signed_in()
    try:
        found = await services.connect_codes.open(form.get("code") or "", user, session, address=address_of(request))
    except (NotFound, TooMany) as error:
        return asked_again(error, partial(_page, visitor, code=""))
    return RedirectResponse(f"/connections/new?code={found.id}", 303)


def _page(visitor: Visitor, *, code: str, problem: str = "", status: int = 200) -> Response:
    facts = view(visitor, "Connect an account", code=code, problem=problem)
    return page("connect_code.html", facts, status=status)


def routes(services: Services) -> list[Route]:
    return [shown(services, "/connect", show), action(services, "/connect", enter)]
