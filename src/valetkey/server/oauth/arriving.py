"""A client's request for a person arrives: judged, kept, and the browser goes on with a handle alone.

1. `arrived`: the client and its redirect URI are known, or nobody is sent anywhere (RFC 6749 section 4.1.2.1),
2. the request is read by every check and kept. What follows is `authorize`, as often as the browser comes back.
"""

import secrets
from dataclasses import dataclass

from valetkey.server.clock import Clock
from valetkey.server.db.engine import Database
from valetkey.server.errors import Denied, InvalidRequest, NotFound, ValetkeyError
from valetkey.server.ids import is_handle, new_handle
from valetkey.server.oauth import store
from valetkey.server.oauth.clients.clients import Clients
from valetkey.server.oauth.clients.model import Client
from valetkey.server.oauth.form import Form, unverified_client
from valetkey.server.oauth.limits import Limits
from valetkey.server.oauth.request import Rules, redirect_of, request_of
from valetkey.server.oauth.sent_back import Redirected, SendBack
from valetkey.server.oauth.signed import RequestObjects
from valetkey.server.secret import Secret
from valetkey.server.vault.mac import Mac

REQUEST_SECONDS = 600
PUSHED_URN = "urn:ietf:params:oauth:request_uri:"
_PATH = b"/oauth/authorize"
_SWEEP_ONE_IN = 256
_KEPT = frozenset(
    {"response_type", "response_mode", "client_id", "redirect_uri", "scope", "state", "authorization_details"}
    | {"code_challenge", "code_challenge_method", "nonce", "dpop_jkt", "prompt", "max_age", "acr_values"}
    | {"login_hint", "purpose", "requested_seconds", "share_with"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GoOn:
    """Keep only the handle and come back."""

    handle: Secret


class Arriving:
    """One per process."""

    def __init__(
        self,
        *,
        database: Database,
        clients: Clients,
        objects: RequestObjects,
        rules: Rules,
        mac: Mac,
        clock: Clock,
        limits: Limits,
        back: SendBack,
    ) -> None:
        self._database = database
        self._clients = clients
        self._objects = objects
        self._rules = rules
        self._mac = mac
        self._clock = clock
        self._limits = limits
        self._back = back

    async def arrived(self, form: Form) -> GoOn | Redirected:
        """A request from a client. Raises where the client or its redirect URI is not known: shown, never sent.

        It is counted before anything of it is looked up, like what a client POSTs, and so is its refusal.
        """
        of = form.sender, unverified_client((), form)
        self._limits.admit(_PATH, *of)
        try:
            came = await self._arrived(form)
        except (InvalidRequest, Denied):
            self._limits.failed(_PATH, *of)
            raise
        if isinstance(came, Redirected):
            self._limits.failed(_PATH, *of)
        return came

    async def _arrived(self, form: Form) -> GoOn | Redirected:
        client = await client_of(self._clients, form)
        if (pushed := form.get("request_uri")) is not None:
            return await self._pushed(pushed, client)
        read, redirect, refusal = await self._read(form, client)
        if refusal is None and client.metadata.must_push:
            refusal = InvalidRequest("This client has to push its requests (/oauth/par) first.")
        if refusal is not None:
            return self._back.refused(refusal, redirect, read)
        return GoOn(handle=await self.keep(read, client, kind="authorize", seconds=REQUEST_SECONDS))

    async def read_pushed(self, form: Form, client: Client) -> Form:
        """What a client pushes, once it would be taken at the authorization endpoint too (RFC 9126 section 2.1)."""
        if form.get("request_uri") is not None:
            raise InvalidRequest("A pushed request names no request_uri.")
        read = self._objects.resolved(form, client)
        request_of(read, client, self._rules, org=client.org)
        return read

    async def keep(self, form: Form, client: Client, *, kind: str, seconds: int) -> Secret:
        """Keep what a request says; the handle is all that travels on."""
        handle, now = new_handle("rq"), int(self._clock.now())
        kept = Form(
            {name: value for name, value in form.single.items() if name in _KEPT},
            {"resource": form.every("resource")} if form.every("resource") else {},
        )
        async with self._database.write() as tx:
            if secrets.randbelow(_SWEEP_ONE_IN) == 0:
                await store.drop_requests_before(tx, now - REQUEST_SECONDS)
            mac = self._mac.mac("authorization-request", "rq", handle)
            await store.add_request(tx, mac, kind=kind, client=client.id, form=kept, now=now, expires_at=now + seconds)
        return handle

    async def _read(self, form: Form, client: Client) -> tuple[Form, str, Exception | None]:
        """The parameters that count, where to answer, and the first refusal if there is one."""
        try:
            read = self._objects.resolved(form, client)
        except ValetkeyError as error:
            return form, redirect_of(form, client), error
        redirect = redirect_of(read, client)
        try:
            request_of(read, client, self._rules, org=client.org)
        except ValetkeyError as error:
            return read, redirect, error
        return read, redirect, None

    async def _pushed(self, uri: str, client: Client) -> GoOn:
        """RFC 9126 section 4: the client that pushed it, within its minute; reloading is no second use."""
        handle = Secret(uri.removeprefix(PUSHED_URN))
        now = int(self._clock.now())
        mac = self._mac.mac("authorization-request", "rq", handle)
        async with self._database.write() as tx:
            kept = await store.request(tx, mac) if is_handle(handle.reveal(), "rq") else None
            fits = kept is not None and kept.client == client.id and kept.kind in ("pushed", "opened")
            if kept is None or not fits or kept.used_at is not None or now >= kept.expires_at:
                raise InvalidRequest(
                    "This request_uri is not valid here, was used, or has expired.",
                    hint="Go back to the agent and start again.",
                    reason="request_uri",
                )
            await store.open_pushed(tx, mac, now=now, until=now + REQUEST_SECONDS)
        return GoOn(handle=handle)


async def client_of(clients: Clients, form: Form) -> Client:
    """The client a request names, or a refusal for the person in front of the page."""
    try:
        return await clients.known(form.must("client_id"))
    except NotFound as error:
        raise InvalidRequest(
            "The agent that sent you here is not known.", hint="Check its client_id with its developer."
        ) from error
