"""Every way to prove who one is, as one value for the pages."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from valetkey.server.audit.store import Journal
from valetkey.server.clock import Clock
from valetkey.server.db.engine import Database
from valetkey.server.egress import Egress
from valetkey.server.principals.login.attempts import Attempts
from valetkey.server.principals.login.one_time import OneTime
from valetkey.server.principals.login.passkey import Passkeys
from valetkey.server.principals.login.password import Passwords, People
from valetkey.server.principals.login.providers.discovery import Calls
from valetkey.server.principals.login.providers.registry import Registry
from valetkey.server.principals.login.recovery import Recovery
from valetkey.server.principals.login.sso import Sso
from valetkey.server.principals.login.steps import Steps
from valetkey.server.principals.login.ways import KnownWays
from valetkey.server.settings import Settings
from valetkey.server.vault.mac import Mac
from valetkey.server.vault.ring import KeyRing


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    attempts: Attempts
    people: People
    passwords: Passwords
    one_time: OneTime
    recovery: Recovery
    passkeys: Passkeys
    steps: Steps
    ways: KnownWays
    providers: Registry
    sso: Sso


def build_login(
    database: Database, journal: Journal, mac: Mac, ring: KeyRing, egress: Egress, clock: Clock, settings: Settings
) -> Login:
    """All of them, wired."""
    host = urlsplit(settings.issuer).hostname or ""
    steps, people, calls = Steps(database, mac, clock), People(database), Calls(egress)
    return Login(
        attempts=Attempts(database, journal, mac, clock),
        people=people,
        passwords=Passwords(database, journal, clock),
        one_time=OneTime(database, journal, ring, clock, issuer=f"Valetkey ({host})"),
        recovery=Recovery(journal, mac, clock),
        passkeys=Passkeys(database, journal, steps, people, clock, host=host, origin=settings.origin),
        steps=steps,
        ways=KnownWays(database, journal),
        providers=Registry(database, journal, calls, ring, clock),
        sso=Sso(database, journal, steps, calls, ring, clock, base=settings.issuer),
    )
