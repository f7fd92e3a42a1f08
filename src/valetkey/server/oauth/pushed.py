"""`POST /oauth/par` (RFC 9126): an authenticated client leaves its request here and sends the browser with a name."""

from collections.abc import Mapping
from typing import Any, TypedDict

import msgspec

from valetkey.server.errors import NotAuthenticated, NotFound
from valetkey.server.oauth.authorize import PUSHED_URN, Authorize
from valetkey.server.oauth.clients.clients import Clients
from valetkey.server.oauth.described import BESIDES, OF_CLIENTS, ClientForm, DescribedEndpoint, Text
from valetkey.server.oauth.form import Form, Headers, client_proof

PUSHED_SECONDS = 60


class Pushed:
    """One per process."""

    def __init__(self, clients: Clients, authorize: Authorize) -> None:
        self._clients = clients
        self._authorize = authorize

    async def __call__(self, form: Form, headers: Headers) -> Mapping[str, Any]:
        """The body of section 2.2."""
        proven = await self._clients.proven(client_proof(headers, form), remembered=False)
        try:
            client = await self._clients.known(proven.id)
        except NotFound as error:
            raise NotAuthenticated(detail="not a client of this endpoint") from error
        read = await self._authorize.read_pushed(_named(form, client.id), client)
        handle = await self._authorize.keep(_named(read, client.id), client, kind="pushed", seconds=PUSHED_SECONDS)
        return {"request_uri": PUSHED_URN + handle.reveal(), "expires_in": PUSHED_SECONDS}


def _named(form: Form, client_id: str) -> Form:
    return Form({**form.single, "client_id": client_id}, form.repeated)


class PushedForm(ClientForm, kw_only=True):
    """An authorization request (RFC 6749 section 4.1.1), in parameters or signed in `request` (RFC 9101)."""

    response_type: Text = msgspec.UNSET
    response_mode: Text = msgspec.UNSET
    redirect_uri: Text = msgspec.UNSET
    state: Text = msgspec.UNSET
    scope: Text = msgspec.UNSET
    resource: list[str] | msgspec.UnsetType = msgspec.UNSET
    authorization_details: Text = msgspec.UNSET
    code_challenge: Text = msgspec.UNSET
    code_challenge_method: Text = msgspec.UNSET
    dpop_jkt: Text = msgspec.UNSET
    nonce: Text = msgspec.UNSET
    prompt: Text = msgspec.UNSET
    max_age: Text = msgspec.UNSET
    acr_values: Text = msgspec.UNSET
    login_hint: Text = msgspec.UNSET
    purpose: Text = msgspec.UNSET
    requested_seconds: Text = msgspec.UNSET
    share_with: Text = msgspec.UNSET
    request: Text = msgspec.UNSET


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
            "invalid_request",
            "invalid_scope",
            "invalid_target",
            "invalid_authorization_details",
            "unsupported_response_type",
            "invalid_request_object",
            "invalid_request_uri",
            "request_uri_not_supported",
            *OF_CLIENTS,
        ),
        **BESIDES,
    },
)
