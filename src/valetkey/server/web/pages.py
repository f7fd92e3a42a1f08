"""Every page."""

from starlette.routing import Route

from valetkey.server.services import Services
from valetkey.server.web import (
    account,
    agents,
    authorize,
    cli_login,
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
    sign_in, cli_login, sso, passkeys, account, sessions, delegations, connections, agents, authorize, consent, device,
    requests
)  # fmt: skip


def routes(services: Services) -> list[Route]:
    """All of them."""
    return [route for room in ROOMS for route in room.routes(services)]
