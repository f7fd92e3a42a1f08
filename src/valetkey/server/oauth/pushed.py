"""`POST /oauth/par` (RFC 9126): an authenticated client leaves its request here and sends the browser with a name."""

from collections.abc import Mapping
from typing import Any

from valetkey.server.errors import NotAuthenticated, NotFound
from valetkey.server.oauth.authorize import PUSHED_URN, Authorize
from valetkey.server.oauth.clients.clients import Clients
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
