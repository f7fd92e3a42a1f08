"""What a route of /v1 says of itself: the very types its door decodes and its handler answers with, and its refusals.

`openapi` turns these into the document; nothing is written down a second time.
"""

from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from starlette.routing import Route

from valetkey.server.delegations.checks import LONGEST_PURPOSE
from valetkey.server.delegations.grants import EXAMPLE, LONGEST_GRANT
from valetkey.server.errors import (
    Denied,
    Expired,
    InvalidRequest,
    NotAuthenticated,
    NotFound,
    TooMany,
    Unavailable,
    ValetkeyError,
)
from valetkey.server.principals.model import NAME

JSON = "application/json"

# What is said here in the document is checked where the rule lives, which has a sentence for people.
Name = Annotated[
    str,
    msgspec.Meta(
        description="1 to 64 lower-case letters, digits, dots, dashes or underscores.",
        extra_json_schema={"pattern": f"^{NAME.pattern}$"},
    ),
]
GrantText = Annotated[
    str,
    msgspec.Meta(
        description="integration[/connection]:scope[,scope]@resource[,resource]",
        examples=[EXAMPLE],
        extra_json_schema={"maxLength": LONGEST_GRANT},
    ),
]
Email = Annotated[str, msgspec.Meta(extra_json_schema={"format": "email"})]
Purpose = Annotated[
    str,
    msgspec.Meta(
        description="What it is for, in printable characters.", extra_json_schema={"maxLength": LONGEST_PURPOSE}
    ),
]
Seconds = Annotated[int, msgspec.Meta(extra_json_schema={"minimum": 1})]

Refusals = tuple[type[ValetkeyError], ...]

_ANYONE: Refusals = (InvalidRequest, TooMany, Unavailable, ValetkeyError)
_WITH_A_TOKEN: Refusals = (NotAuthenticated, Expired, Denied)


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """`body` or `query` is what the handler gets besides the request. `scopes`: what a service account needs, each.

    A route of two verbs has two summaries, with ` | ` between them.
    """

    method: str
    path: str
    status: int
    summary: str = ""
    body: type | None = None
    query: type | None = None
    answer: Any = None
    media: str = JSON
    scopes: tuple[str, ...] = ()
    refuses: Refusals = ()
    is_open: bool = False

    @property
    def all_refusals(self) -> Refusals:
        """What the door itself refuses, and what this route adds."""
        named = (NotFound,) if "{id}" in self.path else ()
        return (*_ANYONE, *(() if self.is_open else _WITH_A_TOKEN), *named, *self.refuses)


class ApiRoute(Route):
    """A Starlette route that knows what it said of itself."""

    def __init__(self, endpoint: Any, described: Described) -> None:
        super().__init__(described.path, endpoint, methods=[described.method])
        self.described = described
