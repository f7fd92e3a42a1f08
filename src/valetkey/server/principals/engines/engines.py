"""Adding an engine, and knowing one by its secret. It ends like anything else: by revoking its id."""

from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Journal
from valetkey.server.clock import Clock
from valetkey.server.db.engine import Database
from valetkey.server.errors import NotAuthenticated
from valetkey.server.ids import is_handle, new_handle, new_id
from valetkey.server.principals.engines import store
from valetkey.server.principals.engines.model import Engine, checked
from valetkey.server.principals.model import User
from valetkey.server.revocation import store as revocation
from valetkey.server.secret import Secret
from valetkey.server.vault.mac import Mac

_REMEMBERED = 1_024


class Engines:
    """One per process."""

    def __init__(self, database: Database, journal: Journal, mac: Mac, clock: Clock) -> None:
        self._database = database
        self._journal = journal
        self._mac = mac
        self._clock = clock
        self._known: dict[bytes, Engine] = {}
        self._changes = 0

    async def add(self, name: str, *, integration: str, address: str, by: User) -> tuple[Engine, Secret]:
        """A new engine and its secret, which is shown this once."""
        engine = Engine(
            id=new_id("eng"), org=by.org, name=name, integration=integration, address=checked(name, address)
        )
        secret = new_handle("en")
        async with self._journal.change() as change:
            mac = self._mac.mac("engine-secret", "en", secret)
            await store.add(change.tx, engine, mac, by=by.id, now=int(self._clock.now()))
            change.record(
                Event.ENGINE_ADDED,
                by.org,
                engine=engine.id,
                name=engine.name,
                integration=engine.integration,
                address=engine.address,
                by=by.id,
            )
        return engine, secret

    async def proven(self, secret: Secret) -> Engine:
        """The engine whose secret this is. Raises `NotAuthenticated`, one sentence for every cause."""
        if not is_handle(secret.reveal(), "en"):
            raise NotAuthenticated(detail="not an engine's secret")
        mac = self._mac.mac("engine-secret", "en", secret)
        known = self._known.get(mac)
        if known is not None:
            return known
        changes = self._changes
        async with self._database.read() as db:
            found = await store.by_secret(db, mac)
            if found is None or await revocation.among(db, {found.id, found.org}):
                raise NotAuthenticated(detail="unknown or revoked engine")
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        if changes == self._changes:  # what was read before a change must not be remembered after it
            self._known[mac] = found
        return found

    def forget(self, nodes: frozenset[str]) -> None:
        """Something about these changed: look them up again."""
        self._changes += 1
        self._known = {mac: e for mac, e in self._known.items() if not nodes & {e.id, e.org}}
