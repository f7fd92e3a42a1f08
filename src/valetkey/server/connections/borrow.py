"""Borrowing a connection's real credential for one request to the API it belongs to, and no other.

Hosts are frozen into the connection when it is made: a request goes to frozen ∩ what the integration names now. The
opened credential is remembered per connection generation, in memory only, and forgotten when the connection changes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote, urlsplit

from valetkey.server.connections import store
from valetkey.server.db.engine import Database
from valetkey.server.egress import Url
from valetkey.server.errors import ConnectionRequired, Denied
from valetkey.server.integrations.model import Integration
from valetkey.server.policy.model import ConnectionFacts
from valetkey.server.secret import Secret
from valetkey.server.vault.ring import KeyRing

_REMEMBERED = 4_096


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

    def at(self, target: bytes) -> Url:
        """The address of a canonical target below the API's base path."""
        return Url(scheme=self.scheme, host=self.host, port=self.port, target=self.base_path + target)

    def below(self, *segments: str) -> Url:
        """The address of these decoded segments below the API's base path."""
        return self.at(b"".join(b"/" + quote(segment, safe="").encode() for segment in segments))


class Borrow:
    """One per process."""

    def __init__(self, database: Database, ring: KeyRing, catalogue: Mapping[str, Integration]) -> None:
        self._database = database
        self._ring = ring
        self._catalogue = catalogue
        self._known: dict[tuple[str, int], Borrowed] = {}

    async def borrow(self, facts: ConnectionFacts) -> Borrowed:
        """The credential of this connection at this generation. Raises `ConnectionRequired` when it is gone."""
        known = self._known.get((facts.id, facts.generation))
        if known is not None:
            return known
        async with self._database.read() as db:
            found = await store.with_credential(db, facts.id, self._ring)
            if found is None or found.facts.generation != facts.generation:
                raise ConnectionRequired(detail=f"{facts.id} changed while it was used")
            credential = store.open_credential(found, self._ring)
        integration = self._catalogue[facts.integration]
        borrowed = injected(integration, found.facts.base_url, found.hosts, credential)
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[facts.id, facts.generation] = borrowed
        return borrowed

    def forget(self, nodes: frozenset[str]) -> None:
        """Drop what is remembered of connections among these nodes."""
        self._known = {key: value for key, value in self._known.items() if key[0] not in nodes}


def injected(integration: Integration, base_url: str, hosts: frozenset[str], credential: Secret) -> Borrowed:
    """How `credential` enters a request of `integration`. Raises `Denied` when the host is no longer the API's."""
    parts = urlsplit(base_url)
    if parts.netloc not in hosts or parts.netloc not in integration.hosts:
        raise Denied("This connection was made for another host than the integration names now.", reason="host_changed")
    secret = credential.reveal()
    # SECURITY: a credential with a line break would write headers of its own (GW-17).
    if not secret.isascii() or not secret.isprintable():
        raise Denied("The connected credential holds characters that cannot be sent.", reason="credential_unusable")
    return Borrowed(
        scheme="http" if parts.scheme == "http" else "https",
        host=parts.hostname or "",
        port=parts.port or (443 if parts.scheme == "https" else 80),
        base_path=parts.path.rstrip("/").encode(),
        header=integration.injection.header.lower().encode(),
        value=Secret(integration.injection.value.format(token=secret)),
        secret=credential,
    )
