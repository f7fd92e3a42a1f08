"""What a client is. Client = Agent: an owned agent is one from the start, an outside client becomes one by consent.

RFC 7591 section 2 names the members; only those this server acts on are kept.
"""

import hashlib
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from valetkey.server.principals.model import Agent, ServiceAccount


class ClientKind(StrEnum):
    AGENT = "agent"  # registered by its owner; the client id is the agent's
    SERVICE_ACCOUNT = "service account"
    DOCUMENT = "metadata document"  # the client id is the https address of its description
    DYNAMIC = "dynamic"  # registered itself; the client id is `cli_…`


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientMetadata:
    """What a client says of itself. `jwks` is a JWK Set as text, empty where there is none."""

    name: str = ""
    redirect_uris: tuple[str, ...] = ()
    auth_method: str = "client_secret_basic"
    application_type: str = "web"
    grant_types: tuple[str, ...] = ("authorization_code", "refresh_token")
    jwks: str = ""
    jwks_uri: str = ""
    client_uri: str = ""
    scope: str = ""
    dpop_bound: bool = False  # dpop_bound_access_tokens, RFC 9449 section 5.2
    must_push: bool = False  # require_pushed_authorization_requests, RFC 9126 section 6
    must_sign: bool = False  # require_signed_request_object, RFC 9101 section 10.5
    delivery: str = "poll"  # backchannel_token_delivery_mode
    notification_endpoint: str = ""  # backchannel_client_notification_endpoint

    @property
    def digest(self) -> str:
        """Changes when anything does that consent relied on: whoever agreed to the old one is asked again."""
        said = (self.name, self.redirect_uris, self.auth_method, self.jwks, self.jwks_uri, self.client_uri)
        return hashlib.sha256(msgspec.json.encode(said)).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """`principal` is None for an outside client: which agent it is depends on who consents.

    `host` is the verified host name of a metadata document; other clients have none.
    """

    id: str
    kind: ClientKind
    name: str
    principal: Agent | ServiceAccount | None
    metadata: ClientMetadata
    org: str | None = None
    host: str | None = None

    @property
    def is_public(self) -> bool:
        """Whether it has nothing to prove itself with."""
        return self.metadata.auth_method == "none"
