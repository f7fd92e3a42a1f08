"""`grant_type=authorization_code`: a code is worth a task once, to its client, with the verifier of its challenge.

A second use is the mark of a stolen code: what the first one opened is ended (OAuth 2.1 section 4.1.3).
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
from valetkey.server.oauth.grants import store as refreshing
from valetkey.server.oauth.grants.asked import Answer, Asked
from valetkey.server.oauth.redeem import Redeem, spent
from valetkey.server.revocation import store as revocation
from valetkey.server.secret import Secret
from valetkey.server.vault.mac import Mac

AUTHORIZATION_CODE = "authorization_code"
RACE_SECONDS = 2
_REMEMBERED = 10_000
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")


class AuthorizationCode:
    """One per process."""

    def __init__(self, journal: Journal, database: Database, redeem: Redeem, mac: Mac, clock: Clock) -> None:
        self._journal = journal
        self._codes: Gathered[bytes, store.KeptCode] = Gathered(database, store.codes)
        self._redeem = redeem
        self._mac = mac
        self._clock = clock
        self._redeemed_here: dict[bytes, bool] = {}  # by this process lately, and whether that is done

    async def __call__(self, asked: Asked) -> Answer:
        handle, verifier = Secret(asked.form.must("code")), asked.form.must("code_verifier")
        if _VERIFIER.fullmatch(verifier) is None:
            raise InvalidRequest("code_verifier has 43 to 128 unreserved characters.")
        mac = self._mac.mac("authorization-code", "co", handle)
        kept = await self._codes.get(mac) if is_handle(handle.reveal(), "co") else None
        if kept is None or asked.client is None:
            raise spent()
        code = kept.code
        if code.agreed.client != asked.client.id or kept.used_at is not None:
            if asked.again is not None:  # who ends something is looked up, not remembered
                await self._redeem.proven_now(asked)
            await self._misused(mac, kept, by=asked.client.id)
            raise spent()
        if self._clock.now() >= kept.expires_at or not _is_bound(code, asked.form, verifier):
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

        if mac in self._redeemed_here:
            raise spent()
        if len(self._redeemed_here) >= _REMEMBERED:
            self._redeemed_here = {known: done for known, done in self._redeemed_here.items() if not done}
        self._redeemed_here[mac] = False
        try:
            answer = await self._redeem(asked, code.agreed, way="code", spend=spend)
        except BaseException as error:
            self._redeemed_here.pop(mac, None)
            if isinstance(error, _Lost):
                raise spent() from error
            raise
        self._redeemed_here[mac] = True
        return answer

    async def _misused(self, mac: bytes, kept: store.KeptCode, *, by: str) -> None:
        """End what the code opened; a code in the wrong hands that opened nothing yet never will."""
        code = kept.code
        # NOTE: whoever asks while the first answer is still being made has lost a race, which exactly one wins. What
        # another process redeemed counts as being made for a moment.
        done = self._redeemed_here.get(mac, kept.used_at is None or kept.used_at < self._clock.now() - RACE_SECONDS)
        if not done and code.agreed.client == by:
            return
        async with self._journal.change() as change:
            now = int(self._clock.now())
            await store.use_codes(change.tx, [store.CodeUse(mac, None, now)])
            used = await store.code(change.tx, mac)
            ended = [] if used is None or used.task is None else [used.task]
            if ended:
                ended += await refreshing.families_of(change.tx, ended[0])
                seq = await change.touches(*ended)
                for node in ended:
                    await revocation.mark(change.tx, node, seq=seq, by=by, reason="code reused", now=now)
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
