"""Clients that register themselves (RFC 7591), and what they may do to their own registration (RFC 7592).

Off unless an administrator turned it on. A registration is one row and one record; its secret and its management token
are shown once and kept as MACs. The management token is replaced at every use; it neither widens what was registered,
nor changes what kind of client it is, nor brings back what has expired.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import msgspec

from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Journal
from valetkey.server.clock import Clock
from valetkey.server.db.engine import Database
from valetkey.server.errors import InvalidRequest, NotAuthenticated, TooMany
from valetkey.server.ids import is_handle, is_id, new_handle, new_id
from valetkey.server.oauth.clients import store
from valetkey.server.oauth.clients.described import KEY_METHODS, SECRET_METHODS, metadata_of
from valetkey.server.oauth.clients.model import Client, ClientKind, ClientMetadata
from valetkey.server.oauth.clients.store import Registered
from valetkey.server.principals.keysets import place_of
from valetkey.server.principals.model import User
from valetkey.server.revocation import store as revocation
from valetkey.server.secret import Secret
from valetkey.server.settings import Settings
from valetkey.server.vault.mac import Mac

DAY_SECONDS: Final = 86_400
HOUR_SECONDS: Final = 3_600
PER_ADDRESS: Final = 10  # registrations an hour
PER_TOKEN: Final = 20
MOST_USES: Final = 1_000
LONGEST_TOKEN_SECONDS: Final = 30 * DAY_SECONDS
_OURS: Final = frozenset(
    {"registration_access_token", "registration_client_uri", "client_secret_expires_at", "client_id_issued_at"}
)


class Register:
    """One per process."""

    def __init__(self, database: Database, journal: Journal, mac: Mac, clock: Clock, settings: Settings) -> None:
        self._database = database
        self._journal = journal
        self._mac = mac
        self._clock = clock
        self._settings = settings

    async def initial_token(self, *, by: User, uses: int, seconds: int) -> Secret:
        """A token with which clients of this organization register, so many times and for so long."""
        if not 1 <= uses <= MOST_USES or not 1 <= seconds <= LONGEST_TOKEN_SECONDS:
            raise InvalidRequest(f"It registers 1 to {MOST_USES} clients and lasts at most 30 days.")
        token, now = new_handle("ia"), int(self._clock.now())
        async with self._journal.change() as change:
            await store.add_initial_token(
                change.tx,
                self._mac.mac("initial-access-token", "ia", token),
                org=by.org,
                by=by.id,
                uses=uses,
                now=now,
                expires_at=now + seconds,
            )
            change.record(Event.INITIAL_ACCESS_TOKEN_ISSUED, by.org, by=by.id, uses=uses, expires_at=now + seconds)
        return token

    async def create(self, said: Mapping[str, object], token: Secret | None, *, address: str) -> dict[str, Any]:
        """Register a client. Raises `InvalidRequest`, `NotAuthenticated` for a token that is not valid, `TooMany`."""
        await self._limit(f"register:{address[:60]}", PER_ADDRESS)
        mac = None if token is None else self._initial_mac(token)
        if mac is None and self._settings.dynamic_registration != "open":
            raise NotAuthenticated("Registering a client takes an initial access token.")
        if mac is not None:
            await self._limit(f"register-token:{mac.hex()[:48]}", PER_TOKEN)
        metadata = self._checked(said)
        now = int(self._clock.now())
        client_id = new_id("cli")
        secret = new_handle("ag") if metadata.auth_method in SECRET_METHODS else None
        management = new_handle("rm")
        async with self._journal.change() as change:
            org = None if mac is None else await store.use_initial_token(change.tx, mac, now=now)
            if mac is not None and org is None:
                raise NotAuthenticated("This initial access token is not valid, is used up, or has expired.")
            await store.remove_unused(change.tx, now=now)
            one = Registered(
                client=_client(client_id, metadata, org),
                secret_mac=None if secret is None else self._mac.mac("client-secret", "ag", secret),
                management_mac=self._mac.mac("registration", "rm", management),
                created_at=now,
                last_used_at=now,
                expires_at=now + self._settings.unused_client_days * DAY_SECONDS,
            )
            await store.add_registered(change.tx, one)
            change.record(
                Event.CLIENT_REGISTERED,
                org or "",
                client=client_id,
                name=metadata.name,
                redirects=list(metadata.redirect_uris),
                client_digest=metadata.digest,
            )
        return self._answer(one, management, secret)

    async def read(self, client_id: str, token: Secret) -> dict[str, Any]:
        """What is registered, with the next management token."""
        one, held = await self._held(client_id, token)
        fresh = new_handle("rm")
        async with self._database.write() as tx:
            mac = self._mac.mac("registration", "rm", fresh)
            if not await store.rotate_management(tx, client_id, held=held, management_mac=mac):
                raise NotAuthenticated(detail="the management token was used at the same moment")
        return self._answer(one, fresh, None)

    async def replace(self, client_id: str, token: Secret, said: Mapping[str, object]) -> dict[str, Any]:
        """Replace the whole record by one that is no wider and of the same kind."""
        one, held = await self._held(client_id, token)
        if said.get("client_id") != client_id or said.keys() & _OURS:
            raise InvalidRequest("Send the client_id, and nothing of what this server adds.", reason="client_metadata")
        own = dict(said)
        own.pop("client_id")
        brought = own.pop("client_secret", None)
        if brought is not None and not self._is_secret(one, brought):
            raise InvalidRequest("The client_secret is not this client's.", reason="client_metadata")
        metadata = self._checked(own)
        _check_no_wider(one.client.metadata, metadata)
        fresh = new_handle("rm")
        async with self._journal.change() as change:
            mac = self._mac.mac("registration", "rm", fresh)
            if not await store.replace_registered(
                change.tx, client_id, held=held, metadata=metadata, management_mac=mac
            ):
                raise NotAuthenticated(detail="the management token was used at the same moment")
            agents = await store.agents_of_client(change.tx, client_id)
            if agents:
                await change.touches(*agents)
            change.record(Event.CLIENT_CHANGED, one.client.org or "", client=client_id, client_digest=metadata.digest)
        return self._answer(replace(one, client=_client(client_id, metadata, one.client.org)), fresh, None)

    async def remove(self, client_id: str, token: Secret) -> None:
        """Forget the client, and end every agent it is."""
        one, held = await self._held(client_id, token)
        now = int(self._clock.now())
        async with self._journal.change() as change:
            agents = await store.agents_of_client(change.tx, client_id)
            if not await store.remove_registered(change.tx, client_id, held=held):
                raise NotAuthenticated(detail="the management token was used at the same moment")
            for agent in agents:
                seq = await change.touches(agent)
                await revocation.mark(change.tx, agent, seq=seq, by=client_id, reason="client removed", now=now)
            change.record(Event.CLIENT_REMOVED, one.client.org or "", client=client_id, agents=sorted(agents))

    def _initial_mac(self, token: Secret) -> bytes:
        if not is_handle(token.reveal(), "ia"):
            raise NotAuthenticated("This initial access token is not valid, is used up, or has expired.")
        return self._mac.mac("initial-access-token", "ia", token)

    async def _limit(self, key: str, most: int) -> None:
        async with self._database.write() as tx:
            count = await store.attempted(tx, key, now=int(self._clock.now()), seconds=HOUR_SECONDS)
        if count > most:
            raise TooMany("Too many clients were registered from here.", retry_after=HOUR_SECONDS)

    async def _held(self, client_id: str, token: Secret) -> tuple[Registered, bytes]:
        """The registration this management token is for. One sentence for every cause."""
        refused = NotAuthenticated("This registration access token is not valid here.")
        if not is_id(client_id, "cli") or not is_handle(token.reveal(), "rm"):
            raise refused
        async with self._database.read() as db:
            one = await store.registered(db, client_id)
        if one is None or one.management_mac is None or not one.is_kept(int(self._clock.now())):
            raise refused
        if not self._mac.matches("registration", "rm", token, one.management_mac):
            raise refused
        return one, one.management_mac

    def _is_secret(self, one: Registered, brought: object) -> bool:
        if one.secret_mac is None or not isinstance(brought, str):
            return False
        return self._mac.matches("client-secret", "ag", Secret(brought), one.secret_mac)

    def _checked(self, said: Mapping[str, object]) -> ClientMetadata:
        if "software_statement" in said:
            raise InvalidRequest("No software statement is accepted here.", reason="software_statement")
        metadata = metadata_of(said, methods=SECRET_METHODS | KEY_METHODS, usual_method="client_secret_basic")
        if metadata.jwks_uri:
            try:
                place_of(metadata.jwks_uri, on_loopback=self._settings.is_on_loopback)
            except InvalidRequest as error:
                raise InvalidRequest(error.public, detail=error.detail, reason="client_metadata") from error
        return metadata

    def _answer(self, one: Registered, management: Secret, secret: Secret | None) -> dict[str, Any]:
        """RFC 7591 section 3.2.1: everything that is registered, and what is shown this once."""
        said = one.client.metadata
        answer: dict[str, Any] = {
            "client_id": one.client.id,
            "client_id_issued_at": one.created_at,
            "client_name": said.name,
            "redirect_uris": list(said.redirect_uris),
            "token_endpoint_auth_method": said.auth_method,
            "application_type": said.application_type,
            "grant_types": list(said.grant_types),
            "response_types": ["code"] if "authorization_code" in said.grant_types else [],
            "scope": said.scope,
            "client_uri": said.client_uri,
            "jwks_uri": said.jwks_uri,
            "jwks": msgspec.json.decode(said.jwks) if said.jwks else None,
            "dpop_bound_access_tokens": said.dpop_bound,
            "require_pushed_authorization_requests": said.must_push,
            "registration_access_token": management.reveal(),
            "registration_client_uri": f"{self._settings.issuer}/oauth/register/{one.client.id}",
        }
        if secret is not None:
            answer |= {"client_secret": secret.reveal()}
        if one.secret_mac is not None:
            answer |= {"client_secret_expires_at": 0}
        return {name: value for name, value in answer.items() if value not in ("", None)}


def _client(client_id: str, metadata: ClientMetadata, org: str | None) -> Client:
    return Client(
        id=client_id,
        kind=ClientKind.DYNAMIC,
        name=metadata.name or client_id,
        principal=None,
        metadata=metadata,
        org=org,
    )


def _check_no_wider(registered: ClientMetadata, wanted: ClientMetadata) -> None:
    # SECURITY: a leaked management token must not turn a client into another kind, or into one that may do more.
    # Guarded by tests/flows/test_registration.py::test_oa_19_a_registration_is_not_widened_swapped_or_revived
    kinds = (registered.auth_method, registered.application_type), (wanted.auth_method, wanted.application_type)
    if kinds[0] != kinds[1]:
        raise InvalidRequest("A client stays of the kind it registered as.", reason="client_metadata")
    held, asked = set(registered.scope.split()), set(wanted.scope.split())
    is_wider = bool(held) and not (asked and asked <= held)
    if is_wider or not set(wanted.grant_types) <= set(registered.grant_types):
        raise InvalidRequest("A registration is changed to less, never to more.", reason="client_metadata")
    drops = [
        (registered.dpop_bound, wanted.dpop_bound),
        (registered.must_push, wanted.must_push),
        (registered.must_sign, wanted.must_sign),
    ]
    if any(before and not after for before, after in drops):
        raise InvalidRequest("A registration keeps the protections it has.", reason="client_metadata")
