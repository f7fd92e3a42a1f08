"""Borrowing a connection's real credential for one request to the API it belongs to, and no other.

Hosts are frozen into the connection when it is made: a request goes to frozen ∩ what the integration names now. The
opened credential is remembered per connection generation, in memory only, and forgotten when the connection changes.
One that ends is renewed before it is lent, and looked up again at its end: another node may have renewed it.
"""

import asyncio
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal
from urllib.parse import quote, urlsplit
from weakref import WeakValueDictionary

from valetkey.server.clock import Clock
from valetkey.server.connections import store
from valetkey.server.connections.installation import Installations
from valetkey.server.connections.model import AppInstallation, Connection, RoleKey
from valetkey.server.connections.refreshing import store as refreshing
from valetkey.server.connections.refreshing.model import SPARE_SECONDS, Refreshing
from valetkey.server.connections.refreshing.refresh import Refresh
from valetkey.server.db.engine import Database
from valetkey.server.egress import Url
from valetkey.server.errors import ConnectionRequired, Denied, Unavailable
from valetkey.server.integrations.model import Integration
from valetkey.server.policy.model import ConnectionFacts
from valetkey.server.secret import Secret
from valetkey.server.vault.ring import KeyRing

EARLIER_SECONDS: Final = 300
"""So long before it ends a credential of an installation is made anew."""
_REMEMBERED: Final = 4_096
_NOTHING: Final = Secret("-")
_ANOTHER_HOST: Final = "This connection was made for another host than the integration names now."


@dataclass(frozen=True, slots=True, kw_only=True)
class Borrowed:
    """A credential on its way out: where it may go, the header it travels in, and the secret to scrub from answers."""

    scheme: Literal["http", "https"]
    host: str
    port: int
    base_path: bytes
    header: bytes
    value: Secret
    secret: Secret
    good_until: int | None = None
    """Until when it may be remembered (seconds since the epoch); None: until the connection changes."""
    generation: int = 1
    """Which credential of its connection it is."""
    git: "Borrowed | None" = None
    """The same one at the API's git host; None where it may not go there."""

    def at(self, target: bytes) -> Url:
        """The address of a canonical target below the API's base path."""
        return Url(scheme=self.scheme, host=self.host, port=self.port, target=self.base_path + target)

    def below(self, *segments: str) -> Url:
        """The address of these decoded segments below the API's base path."""
        return self.at(b"".join(b"/" + quote(segment, safe="").encode() for segment in segments))

    def there(self) -> "Borrowed":
        """The same credential at the API's git host. Raises `Denied` where it may not go there."""
        if self.git is None:
            raise Denied(_ANOTHER_HOST, reason="host_changed")
        return self.git


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """An installed app: where it is asked, which installation, and its private key."""

    base: Url
    installed: AppInstallation
    key: Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedRole:
    """A role of an organization's: where it is taken on, which, and the secret of the access key that may."""

    base: Url
    org: str
    role: RoleKey
    secret: Secret
    api: Borrowed | None = None
    """Where its sessions are used: the place of the API itself, without a credential yet; None while it is proven."""


class Borrow:
    """One per process."""

    def __init__(
        self,
        database: Database,
        ring: KeyRing,
        catalogue: Mapping[str, Integration],
        installations: Installations,
        refresh: Refresh,
        clock: Clock,
    ) -> None:
        self._refresh = refresh
        self._database = database
        self._ring = ring
        self._catalogue = catalogue
        self._installations = installations
        self._clock = clock
        self._known: dict[tuple[str, int], Borrowed] = {}
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def borrow(self, facts: ConnectionFacts) -> Borrowed:
        """The credential of this connection at this generation. Raises `ConnectionRequired` when it is gone."""
        known = self._remembered(facts)
        if known is not None:
            return known
        found, row = await self._read(facts)
        if found.role is not None:
            # SECURITY: the secret of an access key is sent nowhere, not even to AWS: no call carries it.
            # Guarded by tests/attacks/test_s3.py::test_an_engine_is_told_nothing_for_a_signed_call
            raise Denied(
                "Calls to AWS are signed by the gateway, and an engine cannot sign.",
                hint="Send them to /p/ at the gateway itself.",
                reason="signed_calls",
            )
        if found.database is not None:
            raise Denied(
                "A database is not called through the gateway.",
                hint="Take a lease: valetkey leases open --for postgres",
                reason="no_gateway",
            )
        if found.installed is not None:
            async with self._turns.setdefault(facts.id, asyncio.Lock()):
                return self._remembered(facts) or await self._of_installation(found)
        if row is not None and not row.is_good(self._clock.now()):
            try:
                await self._refresh.beyond(facts, row.generation)
            except (Unavailable, ConnectionRequired):
                if not row.still_lives(self._clock.now()):
                    raise
            else:
                found, row = await self._read(facts)
        return self._lent(found, row)

    async def later(self, facts: ConnectionFacts, tried: Borrowed) -> Borrowed:
        """A later credential than one the API refused: another node's, or a fresh one (RT-10).

        Raises `ConnectionRequired` when a later one would fare no better, or only a person can bring one.
        """
        found, row = await self._read(facts)
        if row is None or found.installed is not None or found.role is not None:
            raise refused(self._catalogue[facts.integration], facts)
        if row.generation <= tried.generation:
            if row.state == "needs_reconnect":
                raise self._refresh.reconnect(facts)
            if not row.may_answer_a_refusal(self._clock.now()):
                raise refused(self._catalogue[facts.integration], facts)
            await self._refresh.beyond(facts, tried.generation)
            found, row = await self._read(facts)
        return self._lent(found, row)

    async def opened(self, connection_id: str) -> Opened:
        """A connection of an installed app with its key, for whoever makes a narrow credential by it.

        Raises `Denied` for any other connection: its credential cannot be narrowed, so it is used at the gateway alone.
        """
        async with self._database.read() as db:
            found = await store.with_credential(db, connection_id, self._ring)
        if found is None or found.installed is None:
            raise Denied("The credential of this account cannot be narrowed.", reason="use_gateway")
        integration = self._catalogue[found.facts.integration]
        key = store.open_credential(found, self._ring)
        # The place is proven like that of any credential; the key itself never goes there.
        place = injected(integration, found.facts.base_url, found.hosts, _NOTHING)
        return Opened(base=place.at(b"/"), installed=found.installed, key=key)

    async def role(self, connection_id: str) -> OpenedRole:
        """A connected role with its key, for whoever makes a session of it. Raises `Denied` for other connections."""
        async with self._database.read() as db:
            found = await store.with_credential(db, connection_id, self._ring)
        integration = None if found is None else self._catalogue.get(found.facts.integration)
        if found is None or found.role is None or integration is None or integration.role is None:
            raise Denied("This account is not connected by a role.", reason="use_gateway")
        secret = store.open_credential(found, self._ring)
        # The place is proven like that of any credential; the secret itself never goes there.
        place = injected(integration, integration.role.sts, found.hosts, _NOTHING)
        api = injected(integration, found.facts.base_url, found.hosts, _NOTHING)
        return OpenedRole(base=place.at(b"/"), org=found.facts.org, role=found.role, secret=secret, api=api)

    async def _read(self, facts: ConnectionFacts) -> tuple[Connection, Refreshing | None]:
        async with self._database.read() as db:
            found = await refreshing.current(db, facts.id, self._ring)
        if found is None or found[0].facts.generation != facts.generation:
            raise ConnectionRequired(detail=f"{facts.id} changed while it was used")
        return found

    def _lent(self, found: Connection, row: Refreshing | None) -> Borrowed:
        credential = store.open_credential(found, self._ring)
        integration = self._catalogue[found.facts.integration]
        borrowed = injected(integration, found.facts.base_url, found.hosts, credential)
        ends = None if row is None or row.expires_at is None else row.expires_at - SPARE_SECONDS
        return self._remember(found.facts, replace(borrowed, good_until=ends, generation=found.credential_generation))

    def _remembered(self, facts: ConnectionFacts) -> Borrowed | None:
        known = self._known.get((facts.id, facts.generation))
        if known is None or (known.good_until is not None and self._clock.now() >= known.good_until):
            return None
        return known

    async def _of_installation(self, found: Connection) -> Borrowed:
        """A credential for all the installation can do, used here alone, until shortly before it ends."""
        integration = self._catalogue[found.facts.integration]
        if integration.installation is None:
            raise ConnectionRequired(detail=f"{found.facts.integration} has no installations")
        opened = await self.opened(found.facts.id)
        minted = await self._installations.whole(integration.installation, opened.base, opened.installed, opened.key)
        borrowed = injected(integration, found.facts.base_url, found.hosts, minted.credential)
        return self._remember(found.facts, replace(borrowed, good_until=minted.expires_at - EARLIER_SECONDS))

    def _remember(self, facts: ConnectionFacts, borrowed: Borrowed) -> Borrowed:
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[facts.id, facts.generation] = borrowed
        return borrowed

    def forget_all(self) -> None:
        """Drop every credential that is remembered."""
        self._known.clear()

    def forget(self, nodes: frozenset[str]) -> None:
        """Drop what is remembered of connections among these nodes."""
        self._known = {key: value for key, value in self._known.items() if key[0] not in nodes}


def injected(integration: Integration, base_url: str, hosts: frozenset[str], credential: Secret) -> Borrowed:
    """How `credential` enters a request of `integration`. Raises `Denied` when the host is no longer the API's."""
    parts = urlsplit(base_url)
    if parts.netloc not in hosts or parts.netloc not in integration.hosts:
        raise Denied(_ANOTHER_HOST, reason="host_changed")
    secret = credential.reveal()
    git = integration.git
    # SECURITY: a connection that was made before its API had a git host never agreed to that host.
    # Guarded by tests/rules/test_git.py::test_a_connection_of_the_api_alone_is_not_used_at_its_git_host
    at_git = git if git is not None and urlsplit(git.base_url).netloc in hosts & integration.hosts else None
    # SECURITY: a credential with a line break would write headers of its own (GW-17).
    if not secret.isascii() or not secret.isprintable():
        raise Denied("The connected credential holds characters that cannot be sent.", reason="credential_unusable")
    header, value = integration.injection.header.lower(), integration.injection.value.format(token=secret)
    api = _at(base_url, header, value, credential)
    if at_git is None:
        return api
    pair = b64encode(f"{at_git.user}:{secret}".encode()).decode()
    return replace(api, git=_at(at_git.base_url, "authorization", f"Basic {pair}", credential))


def _at(base_url: str, header: str, value: str, credential: Secret) -> Borrowed:
    parts = urlsplit(base_url)
    return Borrowed(
        scheme="http" if parts.scheme == "http" else "https",
        host=parts.hostname or "",
        port=parts.port or (443 if parts.scheme == "https" else 80),
        base_path=parts.path.rstrip("/").encode(),
        header=header.encode(),
        value=Secret(value),
        secret=credential,
    )


def refused(integration: Integration, facts: ConnectionFacts) -> ConnectionRequired:
    """What a caller is told when the API does not take the credential it has."""
    return ConnectionRequired(
        f"{integration.title} no longer accepts the connected credential of {facts.account}.",
        hint="Connect the account again.",
    )
