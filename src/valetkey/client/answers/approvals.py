"""Calls that wait for a person, and where people are told."""

from typing import Any, NotRequired, TypedDict


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
