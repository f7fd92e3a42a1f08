"""`grant_type=authorization_code`: a code is worth a task once, to its client, with the verifier of its challenge.

A second use is the mark of a stolen code: what the first one opened is ended (OAuth 2.1 section 4.1.3). `reuse` says
which second use is none.
"""

import base64
import hashlib
import re
from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Entry, Journal
from valetkey.server.clock import Clock
from valetkey.server.credentials.issue import With
from valetkey.server.db.effects import Outcome, Together
from valetkey.server.db.engine import Database
from valetkey.server.db.gathered import Gathered
from valetkey.server.delegations.model import Task
from valetkey.server.errors import Denied, InvalidRequest
from valetkey.server.ids import is_handle
from valetkey.server.oauth import store
from valetkey.server.oauth.agreed import Code
from valetkey.server.oauth.form import Form
from valetkey.server.oauth.grants.asked import Answer, Asked
from valetkey.server.oauth.grants.reuse import Spent, end_opened
from valetkey.server.oauth.redeem import Redeem, spent
from valetkey.server.secret import Secret
from valetkey.server.vault.mac import Mac

AUTHORIZATION_CODE = "authorization_code"
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")


class AuthorizationCode:
    """One per process."""

    def __init__(self, journal: Journal, database: Database, redeem: Redeem, mac: Mac, clock: Clock) -> None:
        self._journal = journal
        self._database = database
        self._codes: Gathered[bytes, store.KeptCode] = Gathered(database, store.codes)
        self._redeem = redeem
        self._mac = mac
        self._clock = clock
        self._under_way: set[bytes] = set()  # redeemed by this process at this moment

    async def __call__(self, asked: Asked) -> Answer:
        handle, verifier = Secret(asked.form.must("code")), asked.form.must("code_verifier")
        if _VERIFIER.fullmatch(verifier) is None:
            raise InvalidRequest("code_verifier has 43 to 128 unreserved characters.")
        mac = self._mac.mac("authorization-code", "co", handle)
        kept = await self._codes.get(mac) if is_handle(handle.reveal(), "co") else None
        if kept is None or asked.client is None:
            raise spent()
        code, now = kept.code, self._clock.now()
        is_proven = code.agreed.client == asked.client.id and _is_bound(code, asked.form, verifier)
        if kept.used_at is not None or code.agreed.client != asked.client.id:
            if asked.again is not None:  # who ends something is looked up, not remembered
                await self._redeem.proven_now(asked)
            if not is_proven or not Spent(kept.used_at or 0, kept.answered_at).is_being_answered(now):
                await self._reused(mac, code, by=asked.client.id)
            raise spent()
        if now >= kept.expires_at or not is_proven:
            raise spent()

        def spend(task: Task) -> With:
            members = {
                "code": code.id,
                "task": task.id,
                "client": code.agreed.client,
                "user": code.agreed.user,
            }
            entry = Entry(event=Event.CODE_REDEEMED, org=task.org, members=members)
            use = store.CodeUse(mac, task.id, task.created_at)
            return With(entries=(entry,), effect=Together(_used, use))

        if mac in self._under_way:  # the transaction would find out too; this costs less
            raise spent()
        self._under_way.add(mac)
        try:
            answer = await self._redeem(asked, code.agreed, way="code", spend=spend)
            async with self._database.write() as tx:
                await store.answer_code(tx, mac, now=int(self._clock.now()))
        except _Lost as error:
            raise spent() from error
        finally:
            self._under_way.discard(mac)
        return answer

    async def _reused(self, mac: bytes, code: Code, *, by: str) -> None:
        """End what the code opened; a code in the wrong hands that opened nothing yet never will."""
        async with self._journal.change() as change:
            now = int(self._clock.now())
            [is_dead_now] = await store.use_codes(change.tx, [store.CodeUse(mac, None, now)])
            used = await store.code(change.tx, mac)
            task = None if used is None else used.task
            ended = await end_opened(change, task, by=by, reason="code reused", now=now)
            # SECURITY: once: who shows a code that ended long ago again and again does not make the audit trail grow.
            # Guarded by tests/attacks/test_authorizing.py::test_oa_06_whoever_goes_on_using_it_fills_no_audit
            if is_dead_now or ended:
                change.record(
                    Event.CODE_REUSED, code.agreed.org, code=code.id, client=by, user=code.agreed.user, ended=ended
                )


class _Lost(Denied):
    """Another redemption of the same code was first."""


async def _used(tx: AsyncConnection, uses: Sequence[store.CodeUse]) -> list[Outcome]:
    return [None if is_first else _Lost() for is_first in await store.use_codes(tx, uses)]


def _is_bound(code: Code, form: Form, verifier: str) -> bool:
    """RFC 7636 section 4.6, RFC 6749 section 4.1.3."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    redirect = form.get("redirect_uri")
    same = redirect == code.redirect_uri or (redirect is None and not code.named_redirect)
    return digest == code.challenge and same
