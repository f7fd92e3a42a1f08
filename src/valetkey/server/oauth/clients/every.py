"""Every way a client can be known, put together: registered by its owner, by itself, by its platform, by a document."""

from dataclasses import dataclass

from valetkey.server.audit.store import Journal
from valetkey.server.clock import Clock
from valetkey.server.db.engine import Database
from valetkey.server.egress import Documents, Egress
from valetkey.server.oauth.clients.clients import Clients
from valetkey.server.oauth.clients.document import Descriptions
from valetkey.server.oauth.clients.outside import Outside
from valetkey.server.oauth.clients.register import Register
from valetkey.server.principals.authenticate import Authenticate
from valetkey.server.principals.issuers.trust import Trusting
from valetkey.server.principals.keysets import KeySets
from valetkey.server.settings import Settings
from valetkey.server.vault.mac import Mac


@dataclass(frozen=True, slots=True, kw_only=True)
class EveryClient:
    """One of each per process."""

    clients: Clients
    outside: Outside
    trusting: Trusting
    register: Register


def every_client(
    database: Database,
    journal: Journal,
    authenticate: Authenticate,
    egress: Egress,
    *,
    mac: Mac,
    clock: Clock,
    settings: Settings,
) -> EveryClient:
    """Build them."""
    documents = Documents(egress, clock)
    keysets = KeySets(documents, clock, on_loopback=settings.is_on_loopback)
    outside = Outside(
        database=database,
        journal=journal,
        clock=clock,
        settings=settings,
        mac=mac,
        descriptions=Descriptions(documents, clock, on_loopback=settings.is_on_loopback),
        keysets=keysets,
        assertions=authenticate.assertions,
    )
    trusting = Trusting(
        database,
        journal,
        clock,
        keysets,
        authenticate.assertions,
        settings.issuer,
        on_loopback=settings.is_on_loopback,
    )
    return EveryClient(
        clients=Clients(database, authenticate, outside, trusting),
        outside=outside,
        trusting=trusting,
        register=Register(database, journal, mac, clock, settings),
    )
