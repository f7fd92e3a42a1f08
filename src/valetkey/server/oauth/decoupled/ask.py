"""What the two endpoints have in common: who asks, what for, and keeping it until its person answers."""

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Journal
from valetkey.server.clock import Clock
from valetkey.server.db.engine import Database
from valetkey.server.errors import Denied, InvalidRequest, NotAuthenticated, NotFound
from valetkey.server.ids import new_handle, new_id
from valetkey.server.oauth.clients.clients import Clients
from valetkey.server.oauth.clients.model import Client
from valetkey.server.oauth.decoupled import store
from valetkey.server.oauth.decoupled.model import INTERVAL, DecoupledRequest, Kind, Status
from valetkey.server.oauth.form import Form, Headers, client_proof
from valetkey.server.oauth.limits import Limits
from valetkey.server.oauth.request import EVERYWHERE, AuthorizationRequest, Rules, request_of
from valetkey.server.oauth.signed import RequestObjects
from valetkey.server.secret import Secret
from valetkey.server.vault.mac import Mac
from valetkey.server.vault.ring import KeyRing

_SWEEP_ONE_IN = 256
_SWEEP_AFTER = 86_400
_KEPT = frozenset(
    {"scope", "authorization_details", "dpop_jkt", "max_age", "acr_values", "purpose", "requested_seconds"}
    | {"share_with"}
)
HANDLES = {Kind.DEVICE: "dv", Kind.BACKCHANNEL: "bc"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """A request whose client is proven and whose every check held."""

    form: Form
    client: Client
    request: AuthorizationRequest


class Asking:
    """One per process."""

    def __init__(
        self,
        *,
        journal: Journal,
        database: Database,
        clients: Clients,
        objects: RequestObjects,
        rules: Rules,
        limits: Limits,
        mac: Mac,
        ring: KeyRing,
        clock: Clock,
    ) -> None:
        self._journal = journal
        self._database = database
        self._clients = clients
        self._objects = objects
        self._rules = rules
        self._limits = limits
        self._mac = mac
        self._ring = ring
        self._clock = clock

    async def read(self, form: Form, headers: Headers, *, grant_type: str) -> Read:
        """Who asks and what for. The same checks as for a request with a redirect, but for those about the redirect."""
        proven = await self._clients.proven(client_proof(headers, form), remembered=False)
        try:
            client = await self._clients.known(proven.id)
        except NotFound as error:
            raise NotAuthenticated(detail="not a client of this endpoint") from error
        if grant_type not in client.metadata.grant_types:
            raise Denied("The client did not register for this grant type.", reason="unauthorized_client")
        self._limits.begin(client.id)
        if form.get("request_uri") is not None:
            raise InvalidRequest("A request_uri is for the authorization endpoint.")
        read = self._objects.resolved(form, client)
        request = request_of(read, client, self._rules, EVERYWHERE, org=client.org)
        return Read(form=read, client=client, request=request)

    async def keep(
        self,
        read: Read,
        *,
        kind: Kind,
        seconds: int,
        origin: str,
        user_code: str | None = None,
        user: str | None = None,
        message: str = "",
        notification_token: str | None = None,
        unless: Callable[[AsyncConnection], Awaitable[None]] | None = None,
    ) -> Secret:
        """Keep it; the handle is how its client asks for the answer. `unless` may refuse, in the same transaction."""
        handle, now = new_handle("dv" if kind is Kind.DEVICE else "bc"), int(self._clock.now())
        request = DecoupledRequest(
            id=new_id("req"),
            kind=kind,
            client=read.client.id,
            user=user,
            form=Form(
                {name: value for name, value in read.form.single.items() if name in _KEPT},
                {"resource": read.form.every("resource")} if read.form.every("resource") else {},
            ),
            message=message,
            status=Status.PENDING,
            outcome=None,
            interval=INTERVAL,
            polled_at=0,
            origin=origin[:64],
            created_at=now,
            expires_at=now + seconds,
        )
        notice = None
        if notification_token is not None:
            notice = store.Notice(handle=handle, token=Secret(notification_token))
        code_mac = None if user_code is None else self.code_mac(user_code)
        async with self._journal.change() as change:
            if secrets.randbelow(_SWEEP_ONE_IN) == 0:
                await store.drop_before(change.tx, now - _SWEEP_AFTER)
            if unless is not None:
                await unless(change.tx)
            mac = self.handle_mac(kind, handle)
            await store.add(change.tx, request, mac, user_code_mac=code_mac, notice=notice, ring=self._ring)
            # SECURITY: who has proven nothing must not be able to make the audit trail grow: a device request is
            # recorded once its person confirmed it.
            # Guarded by tests/attacks/test_device_codes.py::test_device_requests_do_not_grow_the_audit
            if user is not None:
                change.record(
                    Event.REQUEST_MADE, read.client.org or "", request=request.id, client=read.client.id, user=user
                )
        return handle

    def handle_mac(self, kind: Kind, handle: Secret) -> bytes:
        """What is kept of a device code or an auth_req_id."""
        return self._mac.mac("decoupled-request", HANDLES[kind], handle)

    def code_mac(self, user_code: str) -> bytes:
        """What is kept of a user code."""
        return self._mac.mac_of("user-code", "dv", user_code.encode())
