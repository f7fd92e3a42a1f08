"""What /v1 answers, by type: a handler returns one of these, a type checker proves it, and the document shows it.

Members may be added; programs ignore those they do not know. `valetkey.client.answers` is how a client sees the same.
"""

from typing import Any, Generic, Literal, NotRequired, TypedDict, TypeVar

from valetkey.server.delegations.model import Basis, Mode
from valetkey.server.policy.ready import ReadyMode
from valetkey.server.principals.issuers.model import IssuerKind
from valetkey.server.principals.model import Role, Status
from valetkey.server.revocation.hops import Outcome

Shown = TypeVar("Shown")


class Listed(TypedDict, Generic[Shown]):
    """One page of a list. Ask again with `next_cursor` while `has_more`."""

    data: list[Shown]
    next_cursor: str | None
    has_more: bool


class Problem(TypedDict):
    """A refusal (RFC 9457): `code` is for programs, `detail` and `hint` for people."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    hint: str
    request_id: NotRequired[str]
    reason: NotRequired[str]
    retry_after: NotRequired[int]


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
    """The ready rules and what they do here. `edition` names these very rules; `text` is how they are written.

    Who chose it, when and why are left out where nobody chose.
    """

    mode: ReadyMode
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
    """The audit record of the choice the ready rules were under, for who may see it."""


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
    """An app at an API. `redirect_uri` is the exact address to register there. The secret is never shown."""

    id: str
    integration: str
    kind: str
    client_id: str
    redirect_uri: str


class CheckedApp(TypedDict):
    """Whether the API knows the app by its secret; `unclear` when it answered neither way."""

    id: str
    client: Literal["accepted", "refused", "unclear"]
    redirect_uri: str


class NewSecret(TypedDict):
    """The secret that replaced the one before, shown this once."""

    id: str
    secret: str


class Scope(TypedDict):
    name: str
    sentence: str
    tier: str


class Address(TypedDict):
    """An address clients know an API by, and what stands for it at the gateway."""

    address: str
    gateway: str


class Integration(TypedDict):
    """An API that can be delegated; `gateway` is where an agent calls it with its delegated credential."""

    name: str
    title: str
    audience: str
    base_url: str
    gateway: str
    addresses: list[Address]
    scopes: list[Scope]


class Connection(TypedDict):
    """An account at an API. The credential behind it is never shown. `owner` is null where it is shared.

    `generation` rises whenever the account is connected again, with whatever the API then gave.
    """

    id: str
    integration: str
    name: str
    account: str
    owner: str | None
    shared: bool
    base_url: str
    generation: int
    last_used_at: int | None
    status: Literal["linked", "needs_reconnect", "revoked"]


class NewConnectCode(TypedDict):
    """`code` leads its person on `page`, once; `page_with_code` shows it filled in, to be compared."""

    id: str
    code: str
    page: str
    page_with_code: str
    expires_in: int
    interval: int


class ConnectCode(TypedDict):
    """`detail` says why nothing was connected; `connection` is what was."""

    id: str
    status: Literal["pending", "linked", "declined", "refused", "expired"]
    reason: str
    detail: str
    connection: Connection | None
    interval: int


class Permission(TypedDict):
    """One of the API's permissions under its own name; `sentence` completes "it may …"."""

    name: str
    sentence: str
    tier: str


class Residual(TypedDict):
    """What the stored credential could do if it leaked, against what was asked for, and who stands in between."""

    connection: str
    integration: str
    account: str
    asked: list[Permission]
    granted: list[Permission]
    could_do: str
    for_how_long: str
    held_back_by: Literal["gateway", "api"]
    why: str


class Lease(TypedDict):
    """A credential that is out: how narrow it is, what its end is, and never the credential."""

    id: str
    agent: str
    user: str
    task: str
    delegation: str
    connection: str
    integration: str
    grants: list[str]
    status: Literal["opening", "out", "ending", "ended", "lost"]
    credential_fingerprint: str
    opened_at: int
    ends_at: int
    problem: str


class Lent(TypedDict):
    """`credential` is shown this once. It is taken back at `ends_at`, or when anything above it is revoked."""

    id: str
    credential: str
    ends_at: int
    grants: list[str]


class Entitlement(TypedDict):
    user: str
    connection: str
    grants: list[str]


class Bound(TypedDict):
    """A resource as the API behind it knows it: the id decides, whatever the name means later."""

    name: str
    id: str
    owner: str


class Delegation(TypedDict):
    """What a person permitted an agent. Times are seconds since 1970."""

    id: str
    user: str
    agent: str
    basis: Basis
    mode: Mode
    purpose: str
    grants: list[str]
    ask: list[str]
    bound: list[Bound]
    share_with: list[str]
    created_by: str
    expires_at: int
    last_used_at: int | None
    status: Literal["live", "expired", "revoked"]
    sentence: str


class Evidence(TypedDict):
    """A single-use proof that the person is there, good for one task."""

    evidence: str
    delegation: str
    expires_in: int


class Task(TypedDict):
    """One run under a delegation. `task_token` is given to whoever opened it, `status` in lists."""

    id: str
    delegation: str
    agent: str
    parent: str | None
    depth: int
    purpose: str
    grants: list[str]
    expires_at: int
    sentence: str
    status: NotRequired[Literal["live", "expired", "revoked"]]
    task_token: NotRequired[str]


class Detail(TypedDict):
    """An authorization detail (RFC 9396)."""

    type: str
    connection: str
    actions: list[str]
    resources: list[str]


class Token(TypedDict):
    """A delegated credential; `scope` where every line has the same."""

    token: str
    id: str
    audience: str
    expires_in: int
    authorization_details: list[Detail]
    scope: NotRequired[str]


class Explanation(TypedDict):
    """What a delegated credential of this organization says; `reason` where it is no longer valid."""

    valid: bool
    reason: str
    claims: dict[str, Any]
    sentence: str


class Hop(TypedDict):
    hop: str
    outcome: Outcome
    detail: str


class Revocation(TypedDict):
    """`already`: it had been revoked before. `seq` is the change it is known under."""

    node: str
    seq: int
    already: bool
    hops: list[Hop]


class AuditRecord(TypedDict):
    """A line of the trail, with the members of its event besides these."""

    id: str
    writer: str
    seq: int
    time: str
    event: str


class InclusionProof(TypedDict):
    """That `record`, a line of the trail, is under `checkpoint`, a signed line: docs/audit-format.md says how."""

    v: int
    kind: Literal["inclusion"]
    record: str
    path: list[str]
    checkpoint: str


class ConsistencyProof(TypedDict):
    """That the checkpoint `later` continues `earlier`: a path for each writer. docs/audit-format.md says how."""

    v: int
    kind: Literal["consistency"]
    earlier: str
    later: str
    paths: dict[str, list[str]]


class Pin(TypedDict):
    """The key that verifies checkpoints, as an auditor pins it."""

    pin: str


class DataKeyBegun(TypedDict):
    """`key` seals from now on; `records` are still sealed under others. `resumed`: an earlier change had not ended."""

    key: str
    records: int
    resumed: bool


class DataKeyResealed(TypedDict):
    """`unopened` records do not open: their key is kept. When `finished`, the keys nothing needs are `destroyed`."""

    resealed: int
    cursor: str
    finished: bool
    unopened: list[str]
    destroyed: list[str]


class SigningKey(TypedDict):
    kid: str
    purpose: str
    algorithm: str
    signs_from: int
    retired_at: int | None


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


class ResourceServer(TypedDict):
    """An API of the organization's own. `seq` is the change its end is known under."""

    id: str
    name: str
    title: str
    audience: str
    layout: Literal["rfc8693", "agent"]
    algorithm: str
    scopes: list[Scope]
    service_account: str | None
    agent: str | None
    seq: NotRequired[int]


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


class ApprovedCall(TypedDict):
    """The call, from the bytes that will be sent. Pairs are name and value; `is_whole`: nothing is left out."""

    title: str
    method: str
    host: str
    path: str
    query: list[list[str]]
    body_kind: str
    body: list[list[str]]
    text: str
    is_whole: bool


class Approval(TypedDict):
    """A call that waits for a person. Its agent sees only what became of it."""

    id: str
    status: str
    task: str
    link: str
    message: str
    created_at: int
    expires_at: int
    call: NotRequired[ApprovedCall]
    agent: NotRequired[str]
    account: NotRequired[str]
    resources: NotRequired[list[str]]
    why: NotRequired[str]
    claimed_purpose: NotRequired[str]
    danger: NotRequired[bool]
    needs_proof: NotRequired[bool]
    may_be_for_the_task: NotRequired[bool]


class StandingAnswer(TypedDict):
    """An answer that holds for all calls like one until the task ends."""

    id: str
    task: str
    words: str
    created_at: int


class NoticeAddress(TypedDict):
    """Where a person is told that a call waits. The address itself is not shown again. Times in seconds."""

    id: str
    kind: str
    place: str
    is_confirmed: bool
    told_at: int | None
    failures: int
    problem: str
    created_at: int


class NoticeAddresses(TypedDict):
    """Everywhere a person is told."""

    data: list[NoticeAddress]


class Approvals(TypedDict):
    """What waits for a person, and what that person answered for whole tasks."""

    data: list[Approval]
    standing: list[StandingAnswer]
