"""Calls that wait for a person, and where people are told."""

from typing import NotRequired, TypedDict


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
