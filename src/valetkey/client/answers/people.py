"""People, agents and whoever else signs in."""

from typing import Any, NotRequired, TypedDict


class User(TypedDict):
    id: str
    email: str
    role: str
    status: str
    code: NotRequired[str]


class NewCode(TypedDict):
    id: str
    email: str
    code: str
    expires_at: int


class Login(TypedDict):
    credential: str
    user: User
    issuer: str


class Organization(TypedDict):
    id: str
    name: str


class OrganizationLimits(Organization):
    default_ceiling: list[str]
    unknown_client_ceiling: list[str]


class TrustedIssuer(TypedDict):
    id: str
    issuer: str
    kind: str
    keys: str
    audience: str
    token_endpoint_audience: bool
    tenant: dict[str, str]
    rules: list[dict[str, Any]]


class IdentityProvider(TypedDict):
    id: str
    name: str
    issuer: str
    client_id: str
    redirect_uri: str
    group_claim: str
    roles: dict[str, str]
    enrolls: bool
    domains: list[str]


class CheckedProvider(TypedDict):
    id: str
    issuer: str
    works: bool
    problem: str


class Removed(TypedDict):
    id: str
    removed: bool


class InitialAccessToken(TypedDict):
    initial_access_token: str
    uses: int
    expires_in: int


class WhoAmI(TypedDict):
    kind: str
    id: str
    name: str
    role: NotRequired[str]
    organization: Organization
    issuer: str
    gateway: str


class Agent(TypedDict):
    id: str
    name: str
    owner: str
    status: str
    ceiling: list[str]
    secret: NotRequired[str]


class ServiceAccount(TypedDict):
    id: str
    name: str
    scopes: list[str]
    status: str
    secret: NotRequired[str]


class Engine(TypedDict):
    id: str
    name: str
    integration: str
    address: str
    status: str
    secret: NotRequired[str]


class NewSecret(TypedDict):
    id: str
    secret: str
