"""/v1/service-accounts: programs that manage. None of this opens /p, a task, or an exchange."""

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.routing import Route

from valetkey.server.api.door import Caller, body_of, listed, route, same_org
from valetkey.server.principals import store
from valetkey.server.principals.model import ServiceAccount, Status
from valetkey.server.services import Services


class NewServiceAccount(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    scopes: list[str]


def shown(account: ServiceAccount) -> dict[str, Any]:
    """A service account, as the API shows one."""
    return {
        "id": account.id,
        "name": account.name,
        "scopes": sorted(account.scopes),
        "status": account.status.value,
    }


async def create(services: Services, caller: Caller, request: Request) -> dict[str, Any]:
    body = await body_of(request, NewServiceAccount)
    account, secret = await services.enroll.service_account(
        body.name, frozenset(body.scopes), by=caller.administrator()
    )
    return shown(account) | {"secret": secret.reveal()}


async def accounts(services: Services, caller: Caller, request: Request) -> dict[str, Any]:
    caller.administrator()
    async with services.database.read() as db:
        return listed([shown(account) for account in await store.service_accounts_of(db, caller.org)])


async def rotate(services: Services, caller: Caller, request: Request) -> dict[str, Any]:
    by = caller.administrator()
    account = await named(services, caller, request.path_params["id"])
    return {"id": account.id, "secret": (await services.enroll.rotate_service_account(account, by=by)).reveal()}


async def set_status(services: Services, caller: Caller, request: Request) -> dict[str, Any]:
    by = caller.administrator()
    account = await named(services, caller, request.path_params["id"])
    status = Status.SUSPENDED if request.path_params["verb"] == "suspend" else Status.ACTIVE
    await services.enroll.set_service_account_status(account, status, by=by)
    return shown(account) | {"status": status.value}


async def named(services: Services, caller: Caller, text: str) -> ServiceAccount:
    """The service account of this organization with that id or name, or `NotFound`."""
    async with services.database.read() as db:
        everyone = await store.service_accounts_of(db, caller.org)
    found = next((account for account in everyone if text in (account.id, account.name)), None)
    return same_org(found, caller, "service account")


def routes(services: Services) -> list[Route]:
    return [
        route(services, "/v1/service-accounts", "POST", create, status=201),
        route(services, "/v1/service-accounts", "GET", accounts),
        route(services, "/v1/service-accounts/{id}/rotate", "POST", rotate),
        route(services, "/v1/service-accounts/{id}/{verb:status}", "POST", set_status),
    ]
