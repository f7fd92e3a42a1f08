"""Delegations, tasks, tokens, leases, and their end."""

from typing import Any, Literal, NotRequired, TypedDict

from valetkey.server.delegations.model import Basis, Mode
from valetkey.server.revocation.hops import Outcome


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
