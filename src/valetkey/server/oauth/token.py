"""`POST /oauth/token`: which grant, who the client is, which key it holds, and a token back.

Parses and chooses; the grants decide. A proof of possession (RFC 9449 section 5) is verified before anything else and
spent once the client has proven itself, so that strangers write nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, NotRequired, TypedDict

import msgspec

from valetkey.server.errors import Denied, InvalidRequest, ProofRefused, ValetkeyError
from valetkey.server.oauth.clients.clients import Clients
from valetkey.server.oauth.clients.model import Client
from valetkey.server.oauth.described import BESIDES, OF_CLIENTS, ClientForm, DescribedEndpoint, Text
from valetkey.server.oauth.form import ClientProof, Form, Headers, client_proof
from valetkey.server.oauth.grants.asked import Answer, Asked, Grant
from valetkey.server.tokens.proofs import Proofs


@dataclass(frozen=True, slots=True)
class Offered:
    """A grant and how its client proves itself: `is_open` grants carry their own proof, `to_public` ones need none.

    `is_fenced` ones give nothing that was not recorded under the fence, after the client was proven once more.
    """

    grant: Grant
    is_open: bool = False
    to_public: bool = False
    is_fenced: bool = False


TOKEN_PATH = "/oauth/token"  # noqa: S105 - an address


class TokenEndpoint:
    """One per process."""

    def __init__(self, clients: Clients, offered: Mapping[str, Offered], *, proofs: Proofs, issuer: str) -> None:
        self._clients = clients
        self._proofs = proofs
        self._url = f"{issuer}{TOKEN_PATH}"
        self.offered = offered

    async def __call__(self, form: Form, headers: Headers) -> Answer:
        """The body of a successful answer. Raises the typed refusal otherwise."""
        name = form.must("grant_type")
        offered = self.offered.get(name)
        if offered is None:
            raise InvalidRequest(
                "This grant type is not served here.", hint="See the metadata.", reason="unsupported_grant_type"
            )
        key = self._proofs.at_token_endpoint(headers, method="POST", url=self._url)
        jkt = None if key is None else key.jkt
        if offered.is_open:
            answer = await offered.grant(Asked(form=form, client=None, jkt=jkt))
            if key is not None:  # the grant has found its credential good; nobody has the answer yet
                await self._proofs.spend(key)
            return answer
        proof = client_proof(headers, form)
        # SECURITY: who is remembered is proven again under the fence; a token for /v1 would outlive a rotated secret.
        # Guarded by tests/flows/test_if_it_leaks.py::test_an_agents_secret_is_that_agent_until_it_is_rotated
        client = await self._proven(proof, remembered=offered.is_fenced, jkt=jkt)
        if client.is_public and not offered.to_public:
            raise Denied("A client without a secret or a key cannot use this grant.", reason="unauthorized_client")
        # An assertion is used once and names a key, not a secret; a secret may have been replaced meanwhile.
        again = partial(self._proven, proof, remembered=True, jkt=jkt) if proof.secret is not None else None
        if key is not None:
            await self._proofs.spend(key)
        try:
            return await offered.grant(Asked(form=form, client=client, again=again, jkt=jkt))
        except ValetkeyError:
            if again is not None and offered.is_fenced:  # who is remembered and refused may be one that has ended
                await self._proven(proof, remembered=False, jkt=jkt)
            raise

    async def _proven(self, proof: ClientProof, *, remembered: bool, jkt: str | None) -> Client:
        client = await self._clients.proven(proof, remembered=remembered)
        # SECURITY: who registered that its tokens are always bound gets no other, even by a stolen secret (DP-11).
        # Guarded by tests/attacks/test_dpop.py::test_dp_11_a_client_that_always_proves_a_key_gets_no_bearer_token
        if jkt is None and await self._clients.must_prove_a_key(client):
            raise ProofRefused("This client's tokens are bound to a key; send a DPoP proof.")
        return client


class TokenForm(ClientForm, kw_only=True):
    """Which of these a grant needs, its specification says. What a grant does not know is ignored."""

    grant_type: Annotated[str, msgspec.Meta(description="One of the metadata's grant_types_supported.")]
    scope: Text = msgspec.UNSET
    resource: list[str] | msgspec.UnsetType = msgspec.UNSET
    audience: list[str] | msgspec.UnsetType = msgspec.UNSET
    authorization_details: Text = msgspec.UNSET
    code: Text = msgspec.UNSET
    code_verifier: Text = msgspec.UNSET
    redirect_uri: Text = msgspec.UNSET
    refresh_token: Text = msgspec.UNSET
    device_code: Text = msgspec.UNSET
    auth_req_id: Text = msgspec.UNSET
    assertion: Text = msgspec.UNSET
    subject_token: Text = msgspec.UNSET
    subject_token_type: Text = msgspec.UNSET
    actor_token: Text = msgspec.UNSET
    actor_token_type: Text = msgspec.UNSET
    requested_token_type: Text = msgspec.UNSET
    requested_expires_in: Text = msgspec.UNSET
    credential: Text = msgspec.UNSET


class TokenAnswer(TypedDict):
    """RFC 6749 section 5.1, RFC 8693 section 2.2.1, RFC 9396 section 7."""

    access_token: str
    token_type: str
    expires_in: int
    refresh_token: NotRequired[str]
    scope: NotRequired[str]
    issued_token_type: NotRequired[str]
    authorization_details: NotRequired[list[dict[str, Any]]]


DESCRIBED = DescribedEndpoint(
    path="/oauth/token",
    summary="A token for a code, an answered question, a refresh token, an exchange, an assertion, or this API itself",
    form=TokenForm,
    answer=TokenAnswer,
    errors={
        400: (
            "invalid_request",
            "invalid_grant",
            "invalid_scope",
            "invalid_target",
            "invalid_authorization_details",
            "unsupported_grant_type",
            "authorization_pending",
            "slow_down",
            "expired_token",
            "invalid_dpop_proof",
            "use_dpop_nonce",
            *OF_CLIENTS,
        ),
        **BESIDES,
    },
)
