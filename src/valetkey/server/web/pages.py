"""Every page."""

from starlette.routing import Route

from valetkey.server.services import Services
from valetkey.server.web import (
    account,
    agents,
    apps,
    audit,
    authorize,
    cli_login,
    connecting,
    connections,
    consent,
    delegations,
    device,
    passkeys,
    requests,
    sessions,
    sign_in,
    sso,
)

ROOMS = (
    sign_in, cli_login, sso, passkeys, account, sessions, delegations, connections, connecting, agents, authorize,
    consent, device, requests, apps, audit,
)  # fmt: skip


def routes(services: Services) -> list[Route]:
    """All of them."""
    return [route for room in ROOMS for route in room.routes(services)]
