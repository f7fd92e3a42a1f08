"""/v1/organization: its name, and the most that clients nobody registered can ever be given."""

import msgspec
from starlette.requests import Request
from starlette.routing import Route

from valetkey.server.api import answers
from valetkey.server.api.agents import check_ceiling
from valetkey.server.api.described import GrantText
from valetkey.server.api.door import Caller, route
from valetkey.server.audit.model import Event
from valetkey.server.principals import store
from valetkey.server.principals.model import Organization
from valetkey.server.services import Services


class Changed(msgspec.Struct, forbid_unknown_fields=True):
    unknown_client_ceiling: list[GrantText]


def shown(organization: Organization) -> answers.OrganizationLimits:
    """The organization, as the API shows it."""
    return {
        "id": organization.id,
        "name": organization.name,
        "default_ceiling": list(organization.default_ceiling),
        "unknown_client_ceiling": list(organization.unknown_client_ceiling),
    }


async def organization(services: Services, caller: Caller, request: Request) -> answers.OrganizationLimits:
    caller.user()
    async with services.database.read() as db:
        return shown(await store.organization(db, caller.org))


async def change(services: Services, caller: Caller, request: Request, body: Changed) -> answers.OrganizationLimits:
    by = caller.administrator()
    ceiling = tuple(body.unknown_client_ceiling)
    check_ceiling(services, ceiling, org=caller.org, within=None)
    async with services.journal.change() as change:
        await store.set_unknown_client_ceiling(change.tx, by.org, ceiling)
        await change.touches(by.org)
        change.record(Event.UNKNOWN_CLIENT_CEILING_CHANGED, by.org, by=by.id, ceiling=list(ceiling))
        return shown(await store.organization(change.tx, by.org))


def routes(services: Services) -> list[Route]:
    return [
        route(
            services,
            "/v1/organization",
            "GET",
            organization,
            summary="The organization, and the most its agents are given",
            answer=answers.OrganizationLimits,
        ),
        route(
            services,
            "/v1/organization",
            "PUT",
            change,
            summary="Replace the most that clients nobody registered can ever be given",
            body=Changed,
            answer=answers.OrganizationLimits,
        ),
    ]
