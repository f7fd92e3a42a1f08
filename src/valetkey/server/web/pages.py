"""Every page."""

from starlette.routing import Route

from valetkey.server.services import Services
from valetkey.server.web import (
    account,
    agents,
    approvals,
    apps,
    audit,
    authorize,
    cli_login,
    connect_code,
    connecting,
    connecting_by_device,
    connections,
    consent,
    databases,
    delegations,
    device,
    notices,
    passkeys,
    requests,
    rules,
    sessions,
    sign_in,
    sso,
)

ROOMS = (
    sign_in, cli_login, sso, passkeys, account, notices, sessions, delegations, connections, connecting,
    connecting_by_device, connect_code, agents, authorize, consent, device, requests, approvals, apps, databases, rules,
    audit,
)  # fmt: skip


def routes(services: Services) -> list[Route]:
    """All of them."""
    return [route for room in ROOMS for route in room.routes(services)]
