"""Codes of an authenticator app (TOTP, RFC 6238): SHA-1, six digits, thirty seconds, each step used once."""

import base64
import secrets
from dataclasses import dataclass
from urllib.parse import quote

from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Journal
from valetkey.server.clock import Clock
from valetkey.server.db.engine import Database
from valetkey.server.errors import InvalidRequest
from valetkey.server.principals.login import store
from valetkey.server.principals.login.model import SECRET_BYTES, matching_step
from valetkey.server.principals.model import User
from valetkey.server.secret import Secret, SecretBytes
from valetkey.server.vault.ring import KeyRing


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What goes into the app: the address apps understand, and the same secret to type."""

    uri: Secret
    groups: Secret


class OneTime:
    """One per process."""

    def __init__(self, database: Database, journal: Journal, ring: KeyRing, clock: Clock, *, issuer: str) -> None:
        self._database = database
        self._journal = journal
        self._ring = ring
        self._clock = clock
        self._issuer = issuer

    async def begin(self, user: User) -> Setup:
        """Make a secret that is asked for once it was confirmed. Raises `Conflict` when there is a confirmed one."""
        secret = SecretBytes(secrets.token_bytes(SECRET_BYTES))
        async with self._database.write() as tx:
            await store.begin_one_time(tx, user, secret, ring=self._ring)
        return self._setup(user, secret)

    async def setup(self, user: User) -> Setup | None:
        """What goes into the app, while it is not confirmed."""
        async with self._database.read() as db:
            found = await store.one_time(db, user, ring=self._ring)
        return None if found is None or found[2] else self._setup(user, found[0])

    async def confirm(self, user: User, code: str) -> None:
        """Ask for codes from now on. Raises `InvalidRequest` when the code is not the app's."""
        async with self._journal.change() as change:
            found = await store.one_time(change.tx, user, ring=self._ring)
            now = int(self._clock.now())
            step = None if found is None or found[2] else matching_step(found[0], code, now=now, after=found[1])
            if step is None or not await store.use_one_time(change.tx, user.id, step, confirm_at=now):
                raise InvalidRequest(
                    "This is not the code your app shows now.",
                    hint="Check that the clock of the device is right, then type the next code.",
                )
            change.record(Event.LOGIN_WAY_ADDED, user.org, user=user.id, way="totp", again=False)

    async def is_asked(self, user: User) -> bool:
        """Whether a code follows this user's password."""
        async with self._database.read() as db:
            return (await store.ways(db, user.id, issuers=frozenset())).has_one_time

    async def matches(self, user: User, code: str) -> bool:
        """Whether this is a code of now, never used before."""
        async with self._database.write() as tx:
            found = await store.one_time(tx, user, ring=self._ring)
            if found is None or not found[2]:
                return False
            step = matching_step(found[0], code, now=self._clock.now(), after=found[1])
            # SECURITY: reading over a shoulder must not be enough: a step is spent, atomically, by whoever comes first.
            # Guarded by tests/flows/test_one_time_passwords.py::test_a_code_is_worth_one_sign_in
            return step is not None and await store.use_one_time(tx, user.id, step, confirm_at=None)

    def _setup(self, user: User, secret: SecretBytes) -> Setup:
        text = base64.b32encode(secret.reveal()).decode()
        label = f"{quote(self._issuer, safe='')}:{quote(user.email, safe='')}"
        uri = f"otpauth://totp/{label}?secret={text}&issuer={quote(self._issuer, safe='')}"
        groups = " ".join(text[at : at + 4] for at in range(0, len(text), 4))
        return Setup(uri=Secret(uri), groups=Secret(groups))
