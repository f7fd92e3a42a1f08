"""/login, /logout and the page one lands on. Who proves themselves gets a session and goes where they wanted to go."""

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from valetkey.server.errors import InvalidRequest, NotAuthenticated, NotFound
from valetkey.server.oauth.form import Form
from valetkey.server.secret import Secret
from valetkey.server.services import Services
from valetkey.server.web.door import Visitor, action, local_path, seated, shown, unseated, view
from valetkey.server.web.render import page, static


async def home(services: Services, visitor: Visitor, request: Request) -> Response:
    return page("home.html", view(visitor, "Home"))


async def login(services: Services, visitor: Visitor, request: Request) -> Response:
    return _login(visitor, request.query_params.get("next"))


async def by_code(services: Services, visitor: Visitor, request: Request, form: Form) -> Response:
    wanted = local_path(form.get("next"))
    try:
        user = await services.enroll.welcome(
            Secret(form.get("code") or ""), email=form.get("email") or "", organization=form.get("organization") or ""
        )
    except (NotAuthenticated, InvalidRequest) as error:
        return _login(visitor, wanted, problem=error.public, status=400)
    _, handle = await services.sessions.begin(
        user, ("otp",), browser=request.headers.get("user-agent", ""), address=_address(request)
    )
    return seated(RedirectResponse(wanted, 303), handle)


async def logout(services: Services, visitor: Visitor, request: Request, form: Form) -> Response:
    user, session = visitor.signed_in()
    await services.sessions.end(session.id, by=user)
    return unseated(RedirectResponse("/login", 303))


def _login(visitor: Visitor, wanted: str | None, *, problem: str = "", status: int = 200) -> Response:
    return page("login.html", view(visitor, "Sign in", next=local_path(wanted), problem=problem), status=status)


def _address(request: Request) -> str:
    return request.client.host if request.client is not None else ""


async def _file(request: Request) -> Response:
    found = static(request.path_params["name"], request.path_params["digest"])
    if found is None:
        raise NotFound("There is no such file.")
    return found


def routes(services: Services) -> list[Route]:
    return [
        shown(services, "/", home),
        shown(services, "/login", login, open_to_all=True),
        action(services, "/login/code", by_code, open_to_all=True),
        action(services, "/logout", logout),
        Route("/static/{digest}/{name}", _file, methods=["GET"]),
    ]
