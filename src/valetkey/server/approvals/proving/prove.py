"""A dangerous call, or one nobody can read, is agreed to by more than a click: by a passkey that signs it, or anew.

Who has a passkey signs a challenge made of the approval, its key and a fresh nonce. Who has none signs in once more, by
what they have, having set out to for this approval: a sign-in from before counts for nothing, one counts once.
Refuses to know whether the approval may be answered, and by whom.
"""

from enum import StrEnum
from typing import Any, Final

from valetkey.server.approvals.answer import over
from valetkey.server.approvals.model import Approval, Proof, State, agreed_to
from valetkey.server.approvals.proving import store
from valetkey.server.audit.model import fingerprint
from valetkey.server.clock import Clock
from valetkey.server.db.engine import Database
from valetkey.server.errors import Denied
from valetkey.server.principals.login.login import Login
from valetkey.server.principals.model import User
from valetkey.server.principals.sessions.model import Session
from valetkey.server.secret import Secret, SecretBytes

FRESH_SECONDS: Final = 120


class Wanted(StrEnum):
    """How this person has to prove it."""

    PASSKEY = "passkey"
    SIGN_IN = "sign-in"


class Proving:
    """One per process."""

    def __init__(self, database: Database, login: Login, clock: Clock) -> None:
        self._database = database
        self._login = login
        self._clock = clock

    async def wanted(self, person: User) -> Wanted:
        """A passkey from who has one."""
        return Wanted.PASSKEY if (await self._login.ways.of(person)).passkeys else Wanted.SIGN_IN

    async def begin(self, person: User, approval: Approval, *, browser: str) -> dict[str, Any]:
        """What the browser is to have signed."""
        self._must_be_open(approval)
        return await self._login.passkeys.begin_signature(person, agreed_to(approval), browser=browser)

    async def by_passkey(
        self, person: User, approval: Approval, handle: Secret, response: str, *, browser: str
    ) -> Proof:
        """A passkey of this person signed this approval. Raises `NotAuthenticated`, `Denied`, `Conflict`."""
        self._must_be_open(approval)
        signed = await self._login.passkeys.signed(person, agreed_to(approval), handle, response, browser=browser)
        passkey = fingerprint(SecretBytes(signed.credential))
        return Proof(words=f"passkey {passkey} signed this call", approval=approval.id, passkey=passkey)

    async def set_out(self, person: User, approval: Approval, session: Session) -> None:
        """This person goes to sign in anew, for this approval."""
        self._must_be_open(approval)
        now = int(self._clock.now())
        async with self._database.write() as tx:
            await store.begin(tx, store.SetOut(user=person.id, approval=approval.id, session=session.id, began_at=now))

    async def is_signed_in_for(self, person: User, approval: Approval, session: Session) -> bool:
        """Whether this session began by signing in for this approval, a moment ago."""
        async with self._database.read() as db:
            found = await store.of(db, person.id, approval.id)
        return found is not None and self._follows(session, found)

    async def by_sign_in(self, person: User, approval: Approval, session: Session) -> Proof:
        """This person signed in anew for this approval, which counts once. Raises `Denied`, `Conflict`."""
        self._must_be_open(approval)
        # SECURITY: who has a passkey is not let in by less, or a phished password would agree to what is dangerous.
        # Guarded by tests/flows/test_approvals_proven.py::test_who_has_a_passkey_is_not_let_in_by_less
        if await self.wanted(person) is Wanted.PASSKEY:
            raise Denied("This one is approved with your passkey.", reason="not_fresh", hint="Reload its page.")
        async with self._database.write() as tx:
            found = await store.of(tx, person.id, approval.id)
            # SECURITY: a sign-in from before, or for another approval, says nothing of this one.
            # Guarded by tests/flows/test_approvals_proven.py::test_a_sign_in_from_before_does_not_count
            if found is None or not self._follows(session, found) or not await store.spend(tx, found):
                raise Denied(
                    "This one needs a fresh proof that it is you, made for it alone.",
                    reason="not_fresh",
                    hint="Reload its page and prove it there.",
                )
        return Proof(words=f"signed in anew for this approval: {' '.join(session.amr)}", approval=approval.id)

    def _follows(self, session: Session, found: store.SetOut) -> bool:
        # NOTE: within one second nobody can tell what was first, so it does not count.
        is_new = session.id != found.session and min(session.created_at, session.auth_time) > found.began_at
        return is_new and session.is_fresh(self._clock.now(), FRESH_SECONDS)

    def _must_be_open(self, approval: Approval) -> None:
        if approval.now(self._clock.now()) is not State.PENDING:
            raise over()
