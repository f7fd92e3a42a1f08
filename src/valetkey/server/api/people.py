"""/v1/login, /v1/login/cli, /v1/whoami, /v1/users."""

from typing import Literal

import msgspec
from starlette.requests import Request
from starlette.routing import Route

from valetkey.server.api import answers
from valetkey.server.api.described import Email
from valetkey.server.api.door import Caller, listed, open_route, route, same_org
from valetkey.server.api.paging import Listing, Page
from valetkey.server.errors import Conflict, NotAuthenticated
from valetkey.server.principals import store
from valetkey.server.principals.model import Agent, Role, ServiceAccount, Status, User
from valetkey.server.secret import Secret
from valetkey.server.services import Services

USERS = Listing("users")


class LogIn(msgspec.Struct, forbid_unknown_fields=True):
    code: str
    email: str = ""
    organization: str = "main"


class LogInByBrowser(msgspec.Struct, forbid_unknown_fields=True):
    code: str
    code_verifier: str
    redirect_uri: str


class Invite(msgspec.Struct, forbid_unknown_fields=True):
    email: Email
    role: Role = Role.MEMBER


def shown(user: User) -> answers.User:
    """A user, as the API shows one."""
    return {"id": user.id, "email": user.email, "role": user.role, "status": user.status}


async def log_in(services: Services, request: Request, body: LogIn) -> answers.Login:
    user, credential = await services.enroll.log_in(Secret(body.code), email=body.email, organization=body.organization)
    return {"credential": credential.reveal(), "user": shown(user), "issuer": services.settings.issuer}


async def log_in_by_browser(services: Services, request: Request, body: LogInByBrowser) -> answers.Login:
    user, credential = await services.cli_logins.redeem(
        Secret(body.code), verifier=body.code_verifier, redirect_uri=body.redirect_uri
    )
    return {"credential": credential.reveal(), "user": shown(user), "issuer": services.settings.issuer}


async def who_am_i(services: Services, caller: Caller, request: Request) -> answers.WhoAmI:
    async with services.database.read() as db:
        org = await store.organization(db, caller.org)
    principal = caller.principal
    about: answers.WhoAmI = {
        "kind": _kind(principal),
        "id": principal.id,
        "organization": {"id": org.id, "name": org.name},
        "issuer": services.settings.issuer,
        "gateway": services.settings.gateway,
        "scopes": sorted(caller.scopes),
        "name": principal.email if isinstance(principal, User) else principal.name,
    }
    return about | {"role": principal.role} if isinstance(principal, User) else about


def _kind(principal: User | Agent | ServiceAccount) -> Literal["user", "agent", "service_account"]:
    match principal:
        case User():
            return "user"
        case Agent():
            return "agent"
        case ServiceAccount():
            return "service_account"


async def invite(services: Services, caller: Caller, request: Request, body: Invite) -> answers.User:
    user, code = await services.enroll.invite(body.email, body.role, by=caller.administrator())
    return shown(user) | {"code": code.reveal()}


async def users(services: Services, caller: Caller, request: Request, page: Page) -> answers.Listed[answers.User]:
    caller.may("users:read")
    after = USERS.after(services, caller, page.cursor)
    if not caller.sees_all and isinstance(caller.principal, User):
        return listed([shown(caller.principal)])
    async with services.database.read() as db:
        found = await store.users_of(db, caller.org, after=after, limit=page.limit + 1)
    rows, cursor = USERS.cut(services, caller, found, page.limit)
    return listed([shown(user) for user in rows], cursor)


async def set_status(services: Services, caller: Caller, request: Request) -> answers.User:
    by = caller.administrator()
    status = Status.SUSPENDED if request.path_params["verb"] == "suspend" else Status.ACTIVE
    user = await _named(services, caller, request)
    await services.enroll.set_user_status(user, status, by=by)
    return shown(user) | {"status": status}


async def new_code(services: Services, caller: Caller, request: Request) -> answers.NewCode:
    by = caller.administrator()
    user = await _named(services, caller, request)
    code, expires_at = await services.enroll.new_code(user, by=by)
    return {"id": user.id, "email": user.email, "code": code.reveal(), "expires_at": expires_at}


async def _named(services: Services, caller: Caller, request: Request) -> User:
    """The user the address names, by id or by e-mail address."""
    async with services.database.read() as db:
        named = request.path_params["id"]
        found = await store.user(db, named) or await store.user_by_email(db, caller.org, named.lower())
    return same_org(found, caller, "user")


def routes(services: Services) -> list[Route]:
    return [
        open_route(
            services,
            "/v1/login",
            "POST",
            log_in,
            status=201,
            summary="Spend a one-time code: a credential for the command line",
            body=LogIn,
            answer=answers.Login,
            refuses=(NotAuthenticated, Conflict),
        ),
        open_route(
            services,
            "/v1/login/cli",
            "POST",
            log_in_by_browser,
            status=201,
            summary="Redeem the code a browser brought from /login/cli: a credential for the command line",
            body=LogInByBrowser,
            answer=answers.Login,
            refuses=(NotAuthenticated,),
        ),
        route(services, "/v1/whoami", "GET", who_am_i, summary="Who you are here", answer=answers.WhoAmI),
        route(
            services,
            "/v1/users",
            "POST",
            invite,
            status=201,
            summary="Invite a person",
            body=Invite,
            answer=answers.User,
            refuses=(Conflict,),
        ),
        route(
            services,
            "/v1/users",
            "GET",
            users,
            summary="The people of the organization; for members, themselves",
            query=Page,
            answer=answers.Listed[answers.User],
            scopes=("users:read",),
        ),
        route(
            services,
            "/v1/users/{id}/{verb:status}",
            "POST",
            set_status,
            summary="Stop a person, by id or address, and every agent of theirs | Let a stopped person go on",
            answer=answers.User,
            refuses=(Conflict,),
        ),
        route(
            services,
            "/v1/users/{id}/one-time-code",
            "POST",
            new_code,
            status=201,
            summary="A new one-time code for a person who exists, by id or address; their unused one is void",
            answer=answers.NewCode,
        ),
    ]
