"""Every address of /v1, and the JSON doors beside it."""

from starlette.routing import Route

from valetkey.server.api import (
    agent_clients,
    agents,
    approvals,
    apps,
    audit,
    connect_codes,
    connections,
    data_keys,
    delegations,
    engines,
    identity_providers,
    initial_access_tokens,
    leases,
    notice_addresses,
    organization,
    people,
    policies,
    ready_rules,
    resource_servers,
    revocations,
    service_accounts,
    tasks,
    tokens,
    trusted_issuers,
)
from valetkey.server.oauth import register
from valetkey.server.services import Services

ROOMS = (
    people,
    organization,
    agents,
    agent_clients,
    service_accounts,
    engines,
    apps,
    connections,
    connect_codes,
    resource_servers,
    delegations,
    tasks,
    tokens,
    leases,
    approvals,
    notice_addresses,
    ready_rules,
    policies,
    revocations,
    audit,
    data_keys,
    identity_providers,
    trusted_issuers,
    initial_access_tokens,
)


def routes(services: Services) -> list[Route]:
    """All of them; registration only where an administrator turned it on."""
    registering = services.settings.dynamic_registration != "off"
    found = [route for room in ROOMS for route in room.routes(services)]
    return [*found, *(register.routes(services.register) if registering else [])]
