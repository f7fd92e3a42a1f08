"""/v1/organization: its name, and the most that clients nobody registered can ever be given."""

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.routing import Route

from valetkey.server.api.agents import check_ceiling
from valetkey.server.api.door import Caller, body_of, route
from valetkey.server.audit.model import Event
from valetkey.server.principals import store
from valetkey.server.principals.model import Organization
from valetkey.server.services import Services


class Changed(msgspec.Struct, forbid_unknown_fields=True):
    unknown_client_ceiling: list[str]


def shown(organization: Organization) -> dict[str, Any]:
    """The organization, as the API shows it."""
    return {
        "id": organization.id,
        "name": organization.name,
        "default_ceiling": list(organization.default_ceiling),
        "unknown_client_ceiling": list(organization.unknown_client_ceiling),
    }


async def organization(services: Services, caller: Caller, request: Request) -> dict[str, Any]:
    caller.user()
    async with services.database.read() as db:
        return shown(await store.organization(db, caller.org))


async def change(services: Services, caller: Caller, request: Request) -> dict[str, Any]:
    by = caller.administrator()
    body = await body_of(request, Changed)
    ceiling = tuple(body.unknown_client_ceiling)
    check_ceiling(services, ceiling, org=caller.org, within=None)
    async with services.journal.change() as change:
        await store.set_unknown_client_ceiling(change.tx, by.org, ceiling)
        await change.touches(by.org)
        change.record(Event.UNKNOWN_CLIENT_CEILING_CHANGED, by.org, by=by.id, ceiling=list(ceiling))
        return shown(await store.organization(change.tx, by.org))


def routes(services: Services) -> list[Route]:
    return [
        route(services, "/v1/organization", "GET", organization),
        route(services, "/v1/organization", "PUT", change),
    ]
