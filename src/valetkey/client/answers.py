"""The shapes of what the server answers, for type checkers. At run time they are the plain objects that came."""

from typing import Any, Literal, NotRequired, TypedDict


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


class Policy(TypedDict):
    """One version of the organization's policy. The newest is in force. `text` is left out in lists."""

    id: str
    number: int
    digest: str
    why: str
    applied_by: str
    applied_at: int
    text: NotRequired[str]


class CheckedPolicy(TypedDict):
    """How many rules a text holds that could be applied, and their names."""

    rules: list[str]


class ReadyRule(TypedDict):
    """One of them. `why` is what whoever is asked or refused is told."""

    id: str
    effect: str
    why: str


class ReadyRules(TypedDict):
    """The ready rules and what they do here: `mode` is off, observe or enforce. `edition` names these very rules."""

    mode: str
    edition: str
    rules: list[ReadyRule]
    text: str
    chosen_by: NotRequired[str]
    chosen_at: NotRequired[int]
    why: NotRequired[str]


class ExplainedDecision(TypedDict):
    """Why a recorded call was decided as it was. `policies` are the versions it was decided under."""

    decision: str
    event: str
    words: str
    policies: list[str]
    rules: list[str]
    observed: list[str]
    chosen: NotRequired[str]


class ForeseenDecision(TypedDict):
    """What would be decided of a call that nobody made. Budgets are not looked at."""

    decision: Literal["allow", "ask", "deny"]
    reason: str
    words: str
    calls: list[str]
    connection: str
    policies: list[str]
    rules: list[str]
    observed: list[str]


class App(TypedDict):
    id: str
    integration: str
    kind: str
    client_id: str
    redirect_uri: str


class CheckedApp(TypedDict):
    id: str
    client: str
    redirect_uri: str


class Permission(TypedDict):
    name: str
    sentence: str
    tier: str


class Residual(TypedDict):
    connection: str
    integration: str
    account: str
    asked: list[Permission]
    granted: list[Permission]
    could_do: str
    for_how_long: str
    held_back_by: str
    why: str


class NewSecret(TypedDict):
    id: str
    secret: str


class Scope(TypedDict):
    name: str
    sentence: str
    tier: str


class Address(TypedDict):
    address: str
    gateway: str


class Integration(TypedDict):
    name: str
    title: str
    audience: str
    base_url: str
    gateway: str
    addresses: list[Address]
    scopes: list[Scope]


class ResourceServer(TypedDict):
    id: str
    name: str
    title: str
    audience: str
    layout: str
    algorithm: str
    scopes: list[Scope]
    service_account: str | None
    agent: str | None


class Connection(TypedDict):
    id: str
    integration: str
    name: str
    account: str
    owner: str | None
    shared: bool
    base_url: str
    generation: int
    last_used_at: int | None
    status: str


class NewConnectCode(TypedDict):
    id: str
    code: str
    page: str
    page_with_code: str
    expires_in: int
    interval: int


class ConnectCode(TypedDict):
    id: str
    status: str
    reason: str
    detail: str
    connection: Connection | None
    interval: int


class Lease(TypedDict):
    id: str
    agent: str
    user: str
    task: str
    delegation: str
    connection: str
    integration: str
    grants: list[str]
    status: str
    credential_fingerprint: str
    opened_at: int
    ends_at: int
    problem: str


class Lent(TypedDict):
    id: str
    credential: str
    ends_at: int
    grants: list[str]


class Entitlement(TypedDict):
    user: str
    connection: str
    grants: list[str]


class Delegation(TypedDict):
    id: str
    user: str
    agent: str
    basis: str
    mode: str
    purpose: str
    grants: list[str]
    ask: list[str]
    bound: list[dict[str, str]]
    expires_at: int
    sentence: str
    status: str


class Evidence(TypedDict):
    evidence: str
    expires_in: int


class Task(TypedDict):
    id: str
    delegation: str
    agent: str
    grants: list[str]
    expires_at: int
    sentence: str
    status: NotRequired[str]
    task_token: NotRequired[str]


class Token(TypedDict):
    token: str
    token_type: NotRequired[str]
    id: str
    audience: str
    expires_in: int
    authorization_details: list[dict[str, Any]]
    scope: NotRequired[str]


class Explanation(TypedDict):
    sentence: str
    valid: bool
    reason: NotRequired[str | None]
    claims: dict[str, Any]


class Hop(TypedDict):
    hop: str
    outcome: str
    detail: str


class Revocation(TypedDict):
    node: str
    seq: int
    already: bool
    hops: list[Hop]


class DataKeyBegun(TypedDict):
    key: str
    records: int
    resumed: bool


class DataKeyResealed(TypedDict):
    resealed: int
    cursor: str
    finished: bool
    unopened: list[str]
    destroyed: list[str]


class SigningKey(TypedDict):
    kid: str
    signs_from: NotRequired[int]


class Approval(TypedDict):
    id: str
    status: str
    task: str
    link: str
    message: str
    created_at: int
    expires_at: int
    call: NotRequired[dict[str, Any]]
    agent: NotRequired[str]
    account: NotRequired[str]
    resources: NotRequired[list[str]]
    why: NotRequired[str]
    claimed_purpose: NotRequired[str]
    danger: NotRequired[bool]
    needs_proof: NotRequired[bool]
    may_be_for_the_task: NotRequired[bool]


class NoticeAddress(TypedDict):
    id: str
    kind: str
    place: str
    is_confirmed: bool
    told_at: int | None
    failures: int
    problem: str
    created_at: int


class Approvals(TypedDict):
    data: list[Approval]
    standing: list[dict[str, Any]]


class InclusionProof(TypedDict):
    v: int
    kind: str
    record: str
    path: list[str]
    checkpoint: str


class ConsistencyProof(TypedDict):
    v: int
    kind: str
    earlier: str
    later: str
    paths: dict[str, list[str]]
