"""/v1/agents/{id}/client: what an owned agent is as an OAuth client, said by its owner."""

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.routing import Route

from valetkey.server.api import answers
from valetkey.server.api.agents import named
from valetkey.server.api.agents import owned as check_owned
from valetkey.server.api.door import Caller, route
from valetkey.server.audit.model import Event
from valetkey.server.errors import InvalidRequest
from valetkey.server.oauth.clients import store
from valetkey.server.oauth.clients.model import ClientMetadata
from valetkey.server.oauth.clients.registration import checked, jwks_text
from valetkey.server.principals import store as principals
from valetkey.server.services import Services


class NewClient(msgspec.Struct, forbid_unknown_fields=True):
    """RFC 7591 section 2, in its words."""

    redirect_uris: list[str] = []
    token_endpoint_auth_method: str = "client_secret_basic"  # noqa: S105 - the name of a method
    application_type: str = "web"
    grant_types: tuple[str, ...] = ("authorization_code", "refresh_token")
    jwks: dict[str, Any] | None = None
    client_uri: str = ""
    dpop_bound_access_tokens: bool = False
    require_pushed_authorization_requests: bool = False
    require_signed_request_object: bool = False


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
    metadata = checked(
        ClientMetadata(
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
        )
    )
    async with services.database.read() as db:
        has_key = await principals.agent_jwks(db, agent.id) is not None
    if has_key and body.jwks is not None:
        raise InvalidRequest("This agent signs with the key it was registered with.", hint="Leave jwks out.")
    if (metadata.auth_method == "private_key_jwt") != has_key and metadata.auth_method != "none":
        raise InvalidRequest("This agent authenticates with " + ("its key." if has_key else "its secret."))
    async with services.journal.change() as change:
        await store.put_metadata_of_agent(change.tx, agent.id, metadata, now=int(services.clock.now()))
        await change.touches(agent.id)
        change.record(
            Event.AGENT_CLIENT_CHANGED,
            agent.org,
            agent=agent.id,
            by=user.id,
            redirect_uris=list(metadata.redirect_uris),
            auth_method=metadata.auth_method,
            digest=metadata.digest,
        )
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
