"""What an endpoint that programs POST to says of itself for /openapi.json: its form, its answer, its error codes."""

from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict

FORM = "application/x-www-form-urlencoded"


class OAuthError(TypedDict):
    """A refusal (RFC 6749 section 5.2)."""

    error: str
    error_description: NotRequired[str]
    error_uri: NotRequired[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribedEndpoint:
    """`form` is a msgspec Struct of the parameters; `errors` maps a status to the codes it may carry.

    `media` is for the few that take JSON. `answer` None: success has no content. `client`: a client proves itself.
    """

    path: str
    summary: str
    form: type
    answer: Any
    errors: dict[int, tuple[str, ...]]
    status: int = 200
    media: str = FORM
    client: bool = True
