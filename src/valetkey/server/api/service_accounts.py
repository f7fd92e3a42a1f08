"""/v1/service-accounts: programs that manage. None of this opens /p, a task, or an exchange."""

from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.routing import Route

from valetkey.server.api import answers
from valetkey.server.api.described import Name
from valetkey.server.api.door import Caller, listed, route, same_org
from valetkey.server.api.paging import Listing, Page
from valetkey.server.errors import Conflict
from valetkey.server.principals import store
from valetkey.server.principals.model import MANAGEMENT_SCOPES, ServiceAccount, Status
from valetkey.server.services import Services

ACCOUNTS = Listing("service-accounts")


ManagementScope = Annotated[str, msgspec.Meta(extra_json_schema={"enum": sorted(MANAGEMENT_SCOPES)})]


class NewServiceAccount(msgspec.Struct, forbid_unknown_fields=True):
    name: Name
    scopes: Annotated[list[ManagementScope], msgspec.Meta(min_length=1)]


def shown(account: ServiceAccount) -> answers.ServiceAccount:
    """A service account, as the API shows one."""
    return {
        "id": account.id,
        "name": account.name,
        "scopes": sorted(account.scopes),
        "status": account.status,
    }


async def create(
    services: Services, caller: Caller, request: Request, body: NewServiceAccount
) -> answers.ServiceAccount:
    account, secret = await services.enroll.service_account(
        body.name, frozenset(body.scopes), by=caller.administrator()
    )
    return shown(account) | {"secret": secret.reveal()}


async def accounts(
    services: Services, caller: Caller, request: Request, page: Page
) -> answers.Listed[answers.ServiceAccount]:
    caller.administrator()
    after = ACCOUNTS.after(services, caller, page.cursor)
    async with services.database.read() as db:
        found = await store.service_accounts_of(db, caller.org, after=after, limit=page.limit + 1)
    rows, cursor = ACCOUNTS.cut(services, caller, found, page.limit)
    return listed([shown(account) for account in rows], cursor)


async def rotate(services: Services, caller: Caller, request: Request) -> answers.NewSecret:
    by = caller.administrator()
    account = await named(services, caller, request.path_params["id"])
    return {"id": account.id, "secret": (await services.enroll.rotate_service_account(account, by=by)).reveal()}


async def set_status(services: Services, caller: Caller, request: Request) -> answers.ServiceAccount:
    by = caller.administrator()
    account = await named(services, caller, request.path_params["id"])
    status = Status.SUSPENDED if request.path_params["verb"] == "suspend" else Status.ACTIVE
    await services.enroll.set_service_account_status(account, status, by=by)
    return shown(account) | {"status": status}


async def named(services: Services, caller: Caller, text: str) -> ServiceAccount:
    """The service account of this organization with that id or name, or `NotFound`."""
    async with services.database.read() as db:
        everyone = await store.service_accounts_of(db, caller.org)
    found = next((account for account in everyone if text in (account.id, account.name)), None)
    return same_org(found, caller, "service account")


def routes(services: Services) -> list[Route]:
    return [
        route(
            services,
            "/v1/service-accounts",
            "POST",
            create,
            status=201,
            summary="Provision a program that manages",
            body=NewServiceAccount,
            answer=answers.ServiceAccount,
            refuses=(Conflict,),
        ),
        route(
            services,
            "/v1/service-accounts",
            "GET",
            accounts,
            summary="The programs that manage",
            query=Page,
            answer=answers.Listed[answers.ServiceAccount],
        ),
        route(
            services,
            "/v1/service-accounts/{id}/rotate",
            "POST",
            rotate,
            summary="A new secret; the old one stops at once",
            answer=answers.NewSecret,
        ),
        route(
            services,
            "/v1/service-accounts/{id}/{verb:status}",
            "POST",
            set_status,
            summary="Stop a program that manages for a while | Let a stopped program go on",
            answer=answers.ServiceAccount,
        ),
    ]
