"""Taking a leased credential back: at the API, at the end of whatever it was given under, and never given up.

Told at once by a revocation (`stop`, a hop); found by `sweep` when a task ended by itself, another node revoked, or an
earlier try failed. Of several processes one asks the API. A lease nobody holds the credential of is lost: it ends there
by itself, and says so.
"""

import asyncio
import logging
from typing import Final

from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Journal
from valetkey.server.clock import Clock
from valetkey.server.connections.borrow import Borrow
from valetkey.server.connections.installation import Installations
from valetkey.server.credentials import store
from valetkey.server.credentials.authority import Authorities
from valetkey.server.credentials.issue import ENDED, Issue
from valetkey.server.credentials.lease import Lease, State, check_rules
from valetkey.server.db.engine import Database
from valetkey.server.delegations.model import narrowed
from valetkey.server.errors import Denied, Revoked, Unavailable, ValetkeyError
from valetkey.server.integrations.live import LiveCatalogue
from valetkey.server.integrations.role import moment
from valetkey.server.policy.decide import live
from valetkey.server.policy.model import Authority, Reason
from valetkey.server.revocation import store as revocation
from valetkey.server.revocation.hops import HopReport, Outcome
from valetkey.server.secret import Secret
from valetkey.server.vault.ring import KeyRing

SWEEP_SECONDS: Final = 1.0
LOST_AFTER_SECONDS: Final = 120
LONGEST_PAUSE_SECONDS: Final = 300
_MOST_LOOKED_AT: Final = 4_000
_AT_ONCE: Final = 200
RUNS_OUT: Final = "unsupported"
"""The problem of a lease that cannot be ended there: it runs out, and not before."""

log = logging.getLogger("valetkey")


class TakeBack:
    """One per process."""

    def __init__(
        self,
        *,
        database: Database,
        journal: Journal,
        authorities: Authorities,
        issue: Issue,
        catalogue: LiveCatalogue,
        borrow: Borrow,
        installations: Installations,
        ring: KeyRing,
        clock: Clock,
    ) -> None:
        self._database = database
        self._journal = journal
        self._authorities = authorities
        self._issue = issue
        self._catalogue = catalogue
        self._borrow = borrow
        self._installations = installations
        self._ring = ring
        self._clock = clock

    async def unseen(self, lease: Lease, credential: Secret) -> None:
        """End a credential that nobody was given."""
        problem = await self._told(lease, credential)
        async with self._journal.change() as change:
            state = State.LOST if problem else State.ENDED
            if await store.close(change.tx, lease.id, state, problem=problem):
                event = Event.LEASE_LOST if problem else Event.LEASE_ENDED
                change.record(event, lease.org, lease=lease.id, why="given_back")

    async def stop(self, nodes: frozenset[str], _seq: int) -> HopReport:
        """The hop of a revocation: end every credential that is out under one of these nodes, there and now."""
        async with self._database.read() as db:
            found = store.under(await store.not_over(db, limit=_MOST_LOOKED_AT), nodes)
        if not found:
            return HopReport(hop="leased credentials", outcome=Outcome.DONE, detail="None was out.")
        became = [await self._ended(lease, why="revoked") for lease in found[:_AT_ONCE]]
        done, running = became.count(Outcome.DONE), became.count(Outcome.UNSUPPORTED)
        left = len(found) - done - running
        words = [f"{done} ended at the API."] if done or not running else []
        if running:
            last = max(lease.ends_at for lease in found if self._runs_out(lease))
            words.append(f"{running} cannot be ended there: by its own policy each stops working by {moment(last)}.")
        words += [f"{left} still to be ended; it is tried again."] if left else []
        outcome = Outcome.PENDING if left else Outcome.UNSUPPORTED if running else Outcome.DONE
        return HopReport(hop="leased credentials", outcome=outcome, detail=" ".join(words))

    async def watch(self) -> None:
        """Sweep for as long as the server runs."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            await self.sweep()

    async def sweep(self) -> int:
        """End what has reached its end, lost what it stands on, or failed to end before; how many were ended."""
        now = int(self._clock.now())
        async with self._database.read() as db:
            found = await store.not_over(db, due_by=now, limit=_MOST_LOOKED_AT)
        over = [lease for lease in found if not await self._stands(lease, now)]
        return [await self._ended(lease, why="swept") for lease in over[:_AT_ONCE]].count(Outcome.DONE)

    async def _stands(self, lease: Lease, now: int) -> bool:
        """Whether it could be opened now as it was: whatever was narrowed, suspended or ended since ends it."""
        if lease.state is State.OPENING:
            return now < lease.opened_at + LOST_AFTER_SECONDS
        if lease.state is State.ENDING or now >= lease.ends_at:
            return False
        if lease.upstream_ends_at is not None and now >= lease.upstream_ends_at:
            return False  # it has run out at the API, so it is not out, whatever its task does
        try:
            authority, _ = await self._authorities.of_task(lease.task)
            await self.check(lease, authority)
        except Unavailable:
            raise
        except ValetkeyError:
            return False
        return True

    async def check(self, lease: Lease, authority: Authority) -> None:
        """Raise the refusal unless it could be opened now as it was, under what its task is known to be."""
        if (ended := live(authority, self._clock.now())) is not None:
            raise ENDED.get(ended.reason, Denied)(ended.words, reason=ended.reason.value)
        if lease.connection not in authority.connections:
            raise Revoked(reason=Reason.REVOKED.value)
        async with self._database.read() as db:
            if await revocation.among(db, {lease.id}):
                raise Revoked(reason=Reason.REVOKED.value)
        narrowed(authority.task.grants, lease.lines, self._catalogue)
        self._issue.judge(authority, lease.lines)
        check_rules(lease.lines, authority, self._catalogue[lease.integration])

    async def _ended(self, lease: Lease, *, why: str) -> Outcome:
        """Whether it is over at the API now. What fails is tried again, later and later, and never given up.

        What cannot be ended there is looked at again when it has run out; until then it is said to be out.
        """
        now = int(self._clock.now())
        if lease.state is State.OPENING and now < lease.opened_at + LOST_AFTER_SECONDS:
            return Outcome.PENDING  # whoever is making it finds that it has ended
        async with self._database.write() as tx:
            pause = min(2**lease.tries, LONGEST_PAUSE_SECONDS)
            if not await store.take(tx, lease, tries=lease.tries + 1, next_at=now + pause):
                return Outcome.PENDING
        state, problem = State.ENDED, ""
        async with self._database.read() as db:
            credential = await store.open_credential(db, lease, ring=self._ring)
        if credential is None:
            state = State.LOST
        elif lease.upstream_ends_at is None or now < lease.upstream_ends_at:
            problem = await self._told(lease, credential)
        async with self._journal.change() as change:
            if problem == RUNS_OUT:
                await store.note(change.tx, lease.id, problem, next_at=lease.upstream_ends_at)
                return Outcome.UNSUPPORTED
            if problem:
                await store.note(change.tx, lease.id, problem)
                return Outcome.PENDING
            if await store.close(change.tx, lease.id, state):
                event = Event.LEASE_ENDED if state is State.ENDED else Event.LEASE_LOST
                change.record(event, lease.org, lease=lease.id, why=why)
        return Outcome.DONE

    def _runs_out(self, lease: Lease) -> bool:
        """Whether the API has no way to end one credential: then what was made with it ends it, and nothing sooner."""
        how = self._catalogue.get(lease.integration)
        return how is not None and how.role is not None

    async def _told(self, lease: Lease, credential: Secret) -> str:
        """Why it could not be ended at the API; empty when it was."""
        how = self._catalogue.get(lease.integration)
        if self._runs_out(lease):
            return RUNS_OUT
        if how is None or how.installation is None:
            return "no_integration"
        try:
            opened = await self._borrow.opened(lease.connection)
            return "" if await self._installations.end(how.installation, opened.base, credential) else "refused"
        except ValetkeyError as error:
            log.warning("a lease could not be ended yet: %s", error.code)
            return error.code
