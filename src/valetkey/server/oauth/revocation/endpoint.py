"""`POST /oauth/revoke` (RFC 7009): a client ends a token of its own, and all that came of it.

1. the client proves itself, 2. what the token is an end of is found, 3. it must be this client's, 4. `revoke` ends it:
one verb for every door. A token that is unknown, malformed, expired or already ended needs no ending: 200.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypedDict

from valetkey.server.audit.store import Journal
from valetkey.server.clock import Clock
from valetkey.server.db.engine import Database
from valetkey.server.errors import Denied, Expired, NotAuthenticated
from valetkey.server.ids import is_handle
from valetkey.server.oauth.clients.clients import Clients
from valetkey.server.oauth.described import BESIDES, OF_CLIENTS, AboutAToken, DescribedEndpoint
from valetkey.server.oauth.form import Form, Headers, client_proof
from valetkey.server.oauth.revocation import store
from valetkey.server.revocation.hops import Stop
from valetkey.server.revocation.revoke import revoke
from valetkey.server.secret import Secret
from valetkey.server.tokens.model import Kind
from valetkey.server.tokens.verify import Verifying
from valetkey.server.vault.mac import Mac

METADATA: Final[Mapping[str, list[str]]] = {"revocation_endpoint_auth_methods_supported": ["none"]}
"""A public client gives back its own by naming itself (RFC 7009 section 2.1); the token is what proves it."""

REFRESH_PURPOSE: Final = "refresh-token"
"""The purpose under which a refresh token's MAC is stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ends:
    """What a token stands for: whose it is, and the nodes that end with it."""

    client: str
    org: str
    nodes: tuple[str, ...]


class Revocation:
    """One per process."""

    def __init__(
        self,
        clients: Clients,
        verifying: Verifying,
        database: Database,
        journal: Journal,
        mac: Mac,
        clock: Clock,
        hops: Sequence[Stop],
    ) -> None:
        self._clients = clients
        self._verifying = verifying
        self._database = database
        self._journal = journal
        self._mac = mac
        self._clock = clock
        self._hops = hops

    async def __call__(self, form: Form, headers: Headers) -> Mapping[str, Any]:
        """Nothing, once it is done. `token_type_hint` is a hint only: every kind is looked for anyway."""
        caller = await self._clients.proven(client_proof(headers, form), remembered=False)
        ends = await self._found(form.must("token"))
        if ends is None:
            return {}
        # RFC 7009 section 2.1: refused and told so, for a client that believes it ended something must not be wrong.
        if not await self._clients.is_its(caller, ends.client):
            raise Denied("This token was not issued to this client.", reason="unauthorized_client")
        for node in ends.nodes:
            await revoke(
                node,
                org=ends.org,
                by=caller.id,
                reason="given back by its client",
                journal=self._journal,
                clock=self._clock,
                hops=self._hops,
            )
        return {}

    async def _found(self, token: str) -> _Ends | None:
        if is_handle(token, "rf"):
            mac = self._mac.mac(REFRESH_PURPOSE, "rf", Secret(token))
            async with self._database.read() as db:
                held = await store.held_refresh(db, mac)
            if held is None:
                return None
            above = (held.task,) if held.task is not None else ()
            return _Ends(client=held.client, org=held.org, nodes=(*above, held.family))
        try:
            shown = await self._verifying.presented(token)
        except (NotAuthenticated, Expired):
            return None
        node = shown.task if shown.kind is Kind.TASK else shown.jti
        return _Ends(client=shown.client, org=shown.org, nodes=(node,))


class Nothing(TypedDict):
    """An object without members."""


DESCRIBED = DescribedEndpoint(
    path="/oauth/revoke",
    summary="A client ends a token of its own, and all that came of it",
    form=AboutAToken,
    answer=Nothing,
    errors={400: ("invalid_request", *OF_CLIENTS), **BESIDES},
)
