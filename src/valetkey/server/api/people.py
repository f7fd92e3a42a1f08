"""/v1/login, /v1/whoami, /v1/users."""

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.routing import Route

from valetkey.server.api.door import Caller, body_of, listed, open_route, route, same_org
from valetkey.server.errors import InvalidRequest
from valetkey.server.principals import store
from valetkey.server.principals.model import Agent, Role, ServiceAccount, Status, User
from valetkey.server.secret import Secret
from valetkey.server.services import Services


class LogIn(msgspec.Struct, forbid_unknown_fields=True):
    code: str
    email: str = ""
    organization: str = "main"


class Invite(msgspec.Struct, forbid_unknown_fields=True):
    email: str
    role: str = "member"


def shown(user: User) -> dict[str, Any]:
    """A user, as the API shows one."""
    return {"id": user.id, "email": user.email, "role": user.role.value, "status": user.status.value}


async def log_in(services: Services, request: Request) -> dict[str, Any]:
    body = await body_of(request, LogIn)
    user, credential = await services.enroll.log_in(Secret(body.code), email=body.email, organization=body.organization)
    return {"credential": credential.reveal(), "user": shown(user), "issuer": services.settings.issuer}


async def who_am_i(services: Services, caller: Caller, request: Request) -> dict[str, Any]:
    async with services.database.read() as db:
        org = await store.organization(db, caller.org)
    principal = caller.principal
    about: dict[str, Any] = {
        "kind": "user",
        "id": principal.id,
        "organization": {"id": org.id, "name": org.name},
        "issuer": services.settings.issuer,
        "gateway": services.settings.gateway,
        "scopes": sorted(caller.scopes),
    }
    match principal:
        case User():
            about |= {"name": principal.email, "role": principal.role.value}
        case Agent():
            about |= {"kind": "agent", "name": principal.name}
        case ServiceAccount():
            about |= {"kind": "service_account", "name": principal.name}
    return about


async def invite(services: Services, caller: Caller, request: Request) -> dict[str, Any]:
    body = await body_of(request, Invite)
    if body.role not in (Role.MEMBER, Role.ADMINISTRATOR):
        raise InvalidRequest("The role is member or administrator.")
    user, code = await services.enroll.invite(body.email, Role(body.role), by=caller.administrator())
    return shown(user) | {"code": code.reveal()}


async def users(services: Services, caller: Caller, request: Request) -> dict[str, Any]:
    caller.may("users:read")
    async with services.database.read() as db:
        found = await store.users_of(db, caller.org)
    if not caller.sees_all:
        found = [user for user in found if user.id == caller.principal.id]
    return listed([shown(user) for user in found])


async def set_status(services: Services, caller: Caller, request: Request) -> dict[str, Any]:
    by = caller.administrator()
    status = Status.SUSPENDED if request.path_params["verb"] == "suspend" else Status.ACTIVE
    async with services.database.read() as db:
        named = request.path_params["id"]
        found = await store.user(db, named) or await store.user_by_email(db, caller.org, named.lower())
    user = same_org(found, caller, "user")
    await services.enroll.set_user_status(user, status, by=by)
    return shown(user) | {"status": status.value}


def routes(services: Services) -> list[Route]:
    return [
        open_route(services, "/v1/login", "POST", log_in, status=201),
        route(services, "/v1/whoami", "GET", who_am_i),
        route(services, "/v1/users", "POST", invite, status=201),
        route(services, "/v1/users", "GET", users),
        route(services, "/v1/users/{id}/{verb:status}", "POST", set_status),
    ]
