"""People, agents and whoever else signs in."""

from typing import Literal, NotRequired, TypedDict

from valetkey.server.principals.issuers.model import IssuerKind
from valetkey.server.principals.model import Role, Status


class User(TypedDict):
    """`code` invites that person, and is shown this once."""

    id: str
    email: str
    role: Role
    status: Status
    code: NotRequired[str]


class NewCode(TypedDict):
    """`code` signs that person in once, until `expires_at`, and ends what was signed in as them; shown this once."""

    id: str
    email: str
    code: str
    expires_at: int


class Login(TypedDict):
    """`credential` is shown this once; it gets tokens at /oauth/token."""

    credential: str
    user: User
    issuer: str


class Organization(TypedDict):
    id: str
    name: str


class WhoAmI(TypedDict):
    kind: Literal["user", "agent", "service_account"]
    id: str
    name: str
    organization: Organization
    issuer: str
    gateway: str
    scopes: list[str]
    role: NotRequired[Role]


class Agent(TypedDict):
    """`secret` is shown once, to whoever registered an agent without keys of its own."""

    id: str
    name: str
    owner: str
    status: Status
    ceiling: list[str]
    secret: NotRequired[str]


class ServiceAccount(TypedDict):
    """`secret` is shown once, to whoever created it."""

    id: str
    name: str
    scopes: list[str]
    status: Status
    secret: NotRequired[str]


class Engine(TypedDict):
    """A proxy that may ask for decisions. `secret` is shown once, to whoever added it."""

    id: str
    name: str
    integration: str
    address: str
    status: Literal["active", "revoked"]
    secret: NotRequired[str]


class NewSecret(TypedDict):
    """The secret that replaced the one before, shown this once."""

    id: str
    secret: str


class AgentClient(TypedDict):
    """What an owned agent is as an OAuth client (RFC 7591 section 2)."""

    client_id: str
    redirect_uris: list[str]
    token_endpoint_auth_method: str
    application_type: str
    grant_types: list[str]
    dpop_bound_access_tokens: bool
    require_pushed_authorization_requests: bool
    require_signed_request_object: bool
    backchannel_token_delivery_mode: str
    backchannel_client_notification_endpoint: str
    has_keys: bool


class IdentityProvider(TypedDict):
    """The company's own sign-in; the secret is never shown. `redirect_uri` is what to register there."""

    id: str
    name: str
    issuer: str
    client_id: str
    redirect_uri: str
    group_claim: str
    roles: dict[str, Role]
    enrolls: bool
    domains: list[str]


class CheckedProvider(TypedDict):
    """Whether a provider, asked just now, answered so that people can sign in by it; else what is wrong."""

    id: str
    issuer: str
    works: bool
    problem: str


class Removed(TypedDict):
    id: str
    removed: bool


class InitialAccessToken(TypedDict):
    """A token with which clients register, shown this once."""

    initial_access_token: str
    uses: int
    expires_in: int


class OrganizationLimits(TypedDict):
    """The most its agents usually, and clients nobody registered ever, can be given."""

    id: str
    name: str
    default_ceiling: list[str]
    unknown_client_ceiling: list[str]


class IssuerRule(TypedDict):
    """Whoever all these claims are true of is this agent."""

    agent: str
    claims: dict[str, str]


class TrustedIssuer(TypedDict):
    """A platform or an identity provider that is believed. `keys` is an address, or `pasted`."""

    id: str
    issuer: str
    kind: IssuerKind
    keys: str
    audience: str
    token_endpoint_audience: bool
    tenant: dict[str, str]
    rules: list[IssuerRule]
