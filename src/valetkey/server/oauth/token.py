"""`POST /oauth/token`: which grant, who the client is, and a token back. Parses and chooses; the grants decide."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, NotRequired, TypedDict

import msgspec

from valetkey.server.errors import Denied, InvalidRequest
from valetkey.server.oauth.clients.clients import Clients
from valetkey.server.oauth.described import DescribedEndpoint
from valetkey.server.oauth.form import Form, Headers, client_proof
from valetkey.server.oauth.grants.asked import Answer, Asked, Grant
from valetkey.server.oauth.grants.exchange import EXCHANGE


@dataclass(frozen=True, slots=True)
class Offered:
    """A grant and how its client proves itself: `is_open` grants carry their own proof, `to_public` ones need none."""

    grant: Grant
    is_open: bool = False
    to_public: bool = False


class TokenEndpoint:
    """One per process."""

    def __init__(self, clients: Clients, offered: Mapping[str, Offered]) -> None:
        self._clients = clients
        self.offered = offered

    async def __call__(self, form: Form, headers: Headers) -> Answer:
        """The body of a successful answer. Raises the typed refusal otherwise."""
        name = form.must("grant_type")
        offered = self.offered.get(name)
        if offered is None:
            raise InvalidRequest(
                "This grant type is not served here.", hint="See the metadata.", reason="unsupported_grant_type"
            )
        if offered.is_open:
            return await offered.grant(Asked(form=form, client=None))
        proof = client_proof(headers, form)
        # SECURITY: only an exchange is recorded under the fence; a token for /v1 would outlive a rotated secret.
        # Guarded by tests/flows/test_if_it_leaks.py::test_an_agents_secret_is_that_agent_until_it_is_rotated
        client = await self._clients.proven(proof, remembered=name == EXCHANGE)
        if client.is_public and not offered.to_public:
            raise Denied("A client without a secret or a key cannot use this grant.", reason="unauthorized_client")
        # An assertion is used once and names a key, not a secret; a secret may have been replaced meanwhile.
        again = partial(self._clients.proven, proof, remembered=True) if proof.secret is not None else None
        return await offered.grant(Asked(form=form, client=client, again=again))


class TokenForm(msgspec.Struct):
    """Which of these a grant needs, its specification says. What a grant does not know is ignored."""

    grant_type: Annotated[str, msgspec.Meta(description="One of the metadata's grant_types_supported.")]
    scope: str | msgspec.UnsetType = msgspec.UNSET
    resource: list[str] | msgspec.UnsetType = msgspec.UNSET
    audience: list[str] | msgspec.UnsetType = msgspec.UNSET
    authorization_details: str | msgspec.UnsetType = msgspec.UNSET
    subject_token: str | msgspec.UnsetType = msgspec.UNSET
    subject_token_type: str | msgspec.UnsetType = msgspec.UNSET
    requested_token_type: str | msgspec.UnsetType = msgspec.UNSET
    requested_expires_in: str | msgspec.UnsetType = msgspec.UNSET
    credential: str | msgspec.UnsetType = msgspec.UNSET
    client_id: str | msgspec.UnsetType = msgspec.UNSET
    client_secret: str | msgspec.UnsetType = msgspec.UNSET
    client_assertion: str | msgspec.UnsetType = msgspec.UNSET
    client_assertion_type: str | msgspec.UnsetType = msgspec.UNSET


class TokenAnswer(TypedDict):
    """RFC 6749 section 5.1, RFC 8693 section 2.2.1, RFC 9396 section 7."""

    access_token: str
    token_type: str
    expires_in: int
    scope: NotRequired[str]
    issued_token_type: NotRequired[str]
    authorization_details: NotRequired[list[dict[str, Any]]]


DESCRIBED = DescribedEndpoint(
    path="/oauth/token",
    summary="A token for a grant: an exchange under a task, or for this server's own API",
    form=TokenForm,
    answer=TokenAnswer,
    errors={
        400: (
            "invalid_request",
            "invalid_scope",
            "invalid_target",
            "invalid_authorization_details",
            "unauthorized_client",
            "unsupported_grant_type",
        ),
        401: ("invalid_client",),
        429: ("temporarily_unavailable",),
        503: ("temporarily_unavailable",),
    },
)
