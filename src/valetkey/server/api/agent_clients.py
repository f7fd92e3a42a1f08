"""/v1/agents/{id}/client: what an owned agent is as an OAuth client, said by its owner."""

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.routing import Route

from valetkey.server.api import answers
from valetkey.server.api.agents import named
from valetkey.server.api.agents import owned as check_owned
from valetkey.server.api.door import Caller, route
from valetkey.server.oauth.clients.model import ClientMetadata
from valetkey.server.oauth.clients.own import register
from valetkey.server.oauth.clients.registration import GRANT_TYPES, jwks_text
from valetkey.server.oauth.decoupled.notify import check_delivery
from valetkey.server.services import Services


class NewClient(msgspec.Struct, forbid_unknown_fields=True):
    """RFC 7591 section 2, in its words."""

    redirect_uris: list[str] = []
    token_endpoint_auth_method: str = "client_secret_basic"  # noqa: S105 - the name of a method
    application_type: str = "web"
    grant_types: tuple[str, ...] = GRANT_TYPES
    jwks: dict[str, Any] | None = None
    client_uri: str = ""
    dpop_bound_access_tokens: bool = False
    require_pushed_authorization_requests: bool = False
    require_signed_request_object: bool = False
    backchannel_token_delivery_mode: str = "poll"  # noqa: S105 - the name of a mode
    backchannel_client_notification_endpoint: str = ""


def shown(agent: str, m: ClientMetadata) -> answers.AgentClient:
    """A client, as the API shows one."""
    return {
        "client_id": agent,
        "redirect_uris": list(m.redirect_uris),
        "token_endpoint_auth_method": m.auth_method,
        "application_type": m.application_type,
        "grant_types": list(m.grant_types),
        "dpop_bound_access_tokens": m.dpop_bound,
        "require_pushed_authorization_requests": m.must_push,
        "require_signed_request_object": m.must_sign,
        "backchannel_token_delivery_mode": m.delivery,
        "backchannel_client_notification_endpoint": m.notification_endpoint,
        "has_keys": bool(m.jwks),
    }


async def get(services: Services, caller: Caller, request: Request) -> answers.AgentClient:
    caller.may("agents:read")
    agent = await named(services, caller, request.path_params["id"])
    check_owned(caller, agent)
    return shown(agent.id, (await services.clients.known(agent.id)).metadata)


async def put(services: Services, caller: Caller, request: Request, body: NewClient) -> answers.AgentClient:
    user = caller.user()
    agent = await named(services, caller, request.path_params["id"])
    check_owned(caller, agent)
    metadata = ClientMetadata(
        name=agent.name,
        redirect_uris=tuple(body.redirect_uris),
        auth_method=body.token_endpoint_auth_method,
        application_type=body.application_type,
        grant_types=body.grant_types,
        jwks=jwks_text(body.jwks),
        client_uri=body.client_uri[:200],
        dpop_bound=body.dpop_bound_access_tokens,
        must_push=body.require_pushed_authorization_requests,
        must_sign=body.require_signed_request_object,
        delivery=body.backchannel_token_delivery_mode,
        notification_endpoint=body.backchannel_client_notification_endpoint,
    )
    await check_delivery(services.egress, metadata)
    await register(services.journal, services.clock, agent, metadata, by=user)
    return shown(agent.id, metadata)


def routes(services: Services) -> list[Route]:
    return [
        route(
            services,
            "/v1/agents/{id}/client",
            "GET",
            get,
            summary="What an agent is as an OAuth client",
            answer=answers.AgentClient,
            scopes=("agents:read",),
        ),
        route(
            services,
            "/v1/agents/{id}/client",
            "PUT",
            put,
            summary="Say what your agent is as an OAuth client",
            body=NewClient,
            answer=answers.AgentClient,
        ),
    ]
