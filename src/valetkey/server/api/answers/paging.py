"""What every list and every refusal looks like."""

from typing import Generic, NotRequired, TypedDict, TypeVar

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
