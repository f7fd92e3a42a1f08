"""What an endpoint that programs POST to says of itself for /openapi.json: its form, its answer, its error codes."""

from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict

import msgspec

FORM = "application/x-www-form-urlencoded"


class OAuthError(TypedDict):
    """A refusal (RFC 6749 section 5.2)."""

    error: str
    error_description: NotRequired[str]
    error_uri: NotRequired[str]


Text = str | msgspec.UnsetType


class ClientForm(msgspec.Struct):
    """How a client proves itself in a form, where it does not by Basic (RFC 6749 section 2.3, RFC 7523 section 2.2)."""

    client_id: Text = msgspec.UNSET
    client_secret: Text = msgspec.UNSET
    client_assertion: Text = msgspec.UNSET
    client_assertion_type: Text = msgspec.UNSET


class AboutAToken(ClientForm, kw_only=True):
    """RFC 7009 section 2.1, RFC 7662 section 2.1."""

    token: str
    token_type_hint: Text = msgspec.UNSET


class AskingForm(ClientForm, kw_only=True):
    """What a client asks for, however it asks (RFC 6749 section 4.1.1, RFC 8707, RFC 9396), or signed (RFC 9101)."""

    scope: Text = msgspec.UNSET
    resource: list[str] | msgspec.UnsetType = msgspec.UNSET
    authorization_details: Text = msgspec.UNSET
    acr_values: Text = msgspec.UNSET
    login_hint: Text = msgspec.UNSET
    purpose: Text = msgspec.UNSET
    requested_seconds: Text = msgspec.UNSET
    share_with: Text = msgspec.UNSET
    request: Text = msgspec.UNSET


OF_ASKING = (
    "invalid_request",
    "invalid_scope",
    "invalid_target",
    "invalid_authorization_details",
    "invalid_request_object",
)
"""What any endpoint may say that reads what a client asks for."""

OF_CLIENTS = ("access_denied", "invalid_client_metadata", "invalid_redirect_uri", "unauthorized_client")
"""What any endpoint may say whose client proves itself: of itself, or of the document that describes it."""

BESIDES: dict[int, tuple[str, ...]] = {
    401: ("invalid_client",),
    429: ("temporarily_unavailable",),
    503: ("temporarily_unavailable",),
}


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
