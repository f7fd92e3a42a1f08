"""Delegations, tasks, tokens, leases, and their end."""

from typing import Any, NotRequired, TypedDict


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
