"""`POST /oauth/par` (RFC 9126): an authenticated client leaves its request here and sends the browser with a name."""

from collections.abc import Mapping
from typing import Any, TypedDict

import msgspec

from valetkey.server.errors import InvalidRequest, NotAuthenticated, NotFound
from valetkey.server.oauth.arriving import PUSHED_URN, Arriving
from valetkey.server.oauth.clients.clients import Clients
from valetkey.server.oauth.described import BESIDES, OF_ASKING, OF_CLIENTS, AskingForm, DescribedEndpoint, Text
from valetkey.server.oauth.form import Form, Headers, client_proof
from valetkey.server.tokens.proofs import Proofs

PUSHED_PATH = "/oauth/par"
PUSHED_SECONDS = 60


class Pushed:
    """One per process."""

    def __init__(self, clients: Clients, arriving: Arriving, *, proofs: Proofs, issuer: str) -> None:
        self._clients = clients
        self._arriving = arriving
        self._proofs = proofs
        self._url = f"{issuer}{PUSHED_PATH}"

    async def __call__(self, form: Form, headers: Headers) -> Mapping[str, Any]:
        """The body of section 2.2. A key that is proven here binds the code (RFC 9449 section 10.1)."""
        key = self._proofs.at_token_endpoint(headers, method="POST", url=self._url)
        proven = await self._clients.proven(client_proof(headers, form), remembered=False)
        try:
            client = await self._clients.known(proven.id)
        except NotFound as error:
            raise NotAuthenticated(detail="not a client of this endpoint") from error
        if key is not None:
            await self._proofs.spend(key)
        read = await self._arriving.read_pushed(_named(form, client.id), client)
        bound = _bound(_named(read, client.id), None if key is None else key.jkt)
        handle = await self._arriving.keep(bound, client, kind="pushed", seconds=PUSHED_SECONDS)
        return {"request_uri": PUSHED_URN + handle.reveal(), "expires_in": PUSHED_SECONDS}


def _named(form: Form, client_id: str) -> Form:
    return Form({**form.single, "client_id": client_id}, form.repeated)


def _bound(form: Form, jkt: str | None) -> Form:
    # SECURITY: a proof is as good as dpop_jkt, and the two must not disagree about whose the code is.
    # Guarded by tests/flows/test_pushed_requests.py::test_dp_10_a_key_proven_while_pushing_is_the_one_that_redeems
    if jkt is None:
        return form
    if form.get("dpop_jkt") not in (None, jkt):
        raise InvalidRequest("dpop_jkt is not the thumbprint of the key that the DPoP proof proves.")
    return Form({**form.single, "dpop_jkt": jkt}, form.repeated)


class PushedForm(AskingForm, kw_only=True):
    """An authorization request (RFC 6749 section 4.1.1), in parameters or signed in `request` (RFC 9101)."""

    response_type: Text = msgspec.UNSET
    response_mode: Text = msgspec.UNSET
    redirect_uri: Text = msgspec.UNSET
    state: Text = msgspec.UNSET
    code_challenge: Text = msgspec.UNSET
    code_challenge_method: Text = msgspec.UNSET
    dpop_jkt: Text = msgspec.UNSET
    nonce: Text = msgspec.UNSET
    prompt: Text = msgspec.UNSET
    max_age: Text = msgspec.UNSET


class PushedAnswer(TypedDict):
    """RFC 9126 section 2.2."""

    request_uri: str
    expires_in: int


DESCRIBED = DescribedEndpoint(
    path="/oauth/par",
    summary="Leave an authorization request here, and send the browser with its name",
    status=201,
    form=PushedForm,
    answer=PushedAnswer,
    errors={
        400: (
            *OF_ASKING,
            "unsupported_response_type",
            "invalid_request_uri",
            "request_uri_not_supported",
            *OF_CLIENTS,
        ),
        **BESIDES,
    },
)
