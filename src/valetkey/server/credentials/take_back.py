"""Taking a leased credential back: at the API, at the end of whatever it was given under, and never given up.

Told at once by a revocation (`stop`, a hop); found by `sweep` when a task ended by itself, another node revoked, or an
earlier try failed. Of several processes one asks the API. A lease nobody holds the credential of is lost: it ends there
by itself, and says so.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Journal
from valetkey.server.clock import Clock
from valetkey.server.credentials import store
from valetkey.server.credentials.authority import Authorities
from valetkey.server.credentials.issue import ENDED, Issue
from valetkey.server.credentials.lease import Lease, State, check_rules
from valetkey.server.credentials.sources.model import LOST_AFTER_SECONDS, RUNS_OUT, Ended, Source, Sources
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
LONGEST_PAUSE_SECONDS: Final = 300
_MOST_LOOKED_AT: Final = 4_000
_AT_ONCE: Final = 200
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
        sources: Sources,
        ring: KeyRing,
        clock: Clock,
    ) -> None:
        self._database = database
        self._journal = journal
        self._authorities = authorities
        self._issue = issue
        self._catalogue = catalogue
        self._sources = sources
        self._ring = ring
        self._clock = clock
        self._running: dict[str, asyncio.Future[tuple[Outcome, int]]] = {}
        self._turn = asyncio.Lock()
        self._stood: dict[str, Authority] = {}  # under which authority a lease was last found to stand

    async def unseen(self, lease: Lease, credential: Secret) -> None:
        """End a credential that nobody was given."""
        source = self._source(lease)
        ended = await self._told(lease, credential)
        async with self._journal.change() as change:
            if ended.problem and (source is None or not source.ends_by_itself):
                await store.end_soon(change.tx, lease.id, problem=ended.problem)
                return
            state = State.LOST if ended.problem else State.ENDED
            if await store.close(change.tx, lease.id, state, problem=ended.problem):
                event = Event.LEASE_LOST if ended.problem else Event.LEASE_ENDED
                change.record(event, lease.org, lease=lease.id, why="given_back")

    async def stop(self, nodes: frozenset[str], _seq: int) -> HopReport:
        """The hop of a revocation: end every credential that is out under one of these nodes, there and now."""
        async with self._database.read() as db:
            found = store.under(await store.not_over(db, limit=_MOST_LOOKED_AT), nodes)
        if not found:
            return HopReport(hop="leased credentials", outcome=Outcome.DONE, detail="None was out.")
        sessions = await self._shut(found)
        results = [await self._ended(lease, why="revoked") for lease in found[:_AT_ONCE]]
        became = [outcome for outcome, _ in results]
        done, running = became.count(Outcome.DONE), became.count(Outcome.UNSUPPORTED)
        left = len(found) - done - running
        words = [f"{done} ended at the API."] if done or not running else []
        if any(self._is_login(lease) for lease in found):
            sessions += sum(also for _, also in results)
            words.append(f"Logins of databases: none lets anybody in, {sessions} open sessions were ended.")
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
        async with self._turn:
            return await self._swept()

    async def _swept(self) -> int:
        now = int(self._clock.now())
        async with self._database.read() as db:
            found = await store.not_over(db, due_by=now, limit=_MOST_LOOKED_AT)
            revoked = await revocation.among(db, {lease.id for lease in found})
        over = [lease for lease in found if lease.id in revoked or not await self._stands(lease, now)]
        out = {lease.id for lease in found} - {lease.id for lease in over}
        self._stood = {lease_id: authority for lease_id, authority in self._stood.items() if lease_id in out}
        await self._shut(over)
        results = [await self._ended(lease, why="swept") for lease in over[:_AT_ONCE]]
        return sum(outcome is Outcome.DONE for outcome, _ in results)

    async def _stands(self, lease: Lease, now: int) -> bool:
        """Whether it could be opened now as it was: whatever was narrowed, suspended or ended since ends it."""
        if lease.state is State.OPENING:
            return self._may_be_in_the_making(lease, now)
        if lease.state is State.ENDING or now >= lease.ends_at:
            return False
        if lease.upstream_ends_at is not None and now >= lease.upstream_ends_at:
            return False  # it has run out at the API, so it is not out, whatever its task does
        try:
            authority, _ = await self._authorities.of_task(lease.task)
            if self._stood.get(lease.id) is not authority or live(authority, self._clock.now()) is not None:
                self._check_narrowing(lease, authority)
                self._stood[lease.id] = authority
        except Unavailable:
            raise
        except ValetkeyError:
            return False
        return True

    async def check(self, lease: Lease, authority: Authority, *, is_unchanged: bool) -> None:
        """Raise the refusal unless it could be opened now as it was, under what its task is known to be.

        `is_unchanged`: its own revocation would have changed what is known, and that is as it was.
        """
        if not is_unchanged:
            async with self._database.read() as db:
                if await revocation.among(db, {lease.id}):
                    raise Revoked(reason=Reason.REVOKED.value)
        self._check_narrowing(lease, authority)

    def _check_narrowing(self, lease: Lease, authority: Authority) -> None:
        """The same, but for the lease's own end."""
        if (ended := live(authority, self._clock.now())) is not None:
            raise ENDED.get(ended.reason, Denied)(ended.words, reason=ended.reason.value)
        if lease.connection not in authority.connections:
            raise Revoked(reason=Reason.REVOKED.value)
        narrowed(authority.task.grants, lease.lines, self._catalogue)
        self._issue.judge(authority, lease.lines)
        check_rules(lease.lines, authority, self._catalogue[lease.integration])

    async def _shut(self, leases: Sequence[Lease]) -> int:
        """Before one after the other is ended: none of them lets anybody in from now on."""
        by_kind: dict[str, list[Lease]] = {}
        for lease in leases:
            if lease.state is not State.OPENING:
                by_kind.setdefault(lease.integration, []).append(lease)
        sessions = 0
        for several in by_kind.values():
            source = self._source(several[0])
            try:
                sessions += 0 if source is None else await source.shut(several)
            except Exception as error:
                # SECURITY: what one kind fails with keeps nobody from taking back the others; each is ended below.
                # Guarded by tests/faults/test_database_turns.py::test_a_source_that_breaks_is_tried_again
                log.error("what is lent by %s could not be shut: %s", several[0].integration, type(error).__name__)
        return sessions

    async def end_now(self, lease: Lease, *, why: str) -> bool:
        """End one that is not what it should be there."""
        outcome, _ = await self._ended(lease, why=why)
        return outcome is Outcome.DONE

    async def _ended(self, lease: Lease, *, why: str) -> tuple[Outcome, int]:
        """The same as `_end`, or what comes of it where this process is at that very lease already."""
        running = self._running.get(lease.id)
        if running is not None:
            return await asyncio.shield(running)
        result: tuple[Outcome, int] = (Outcome.PENDING, 0)
        self._running[lease.id] = running = asyncio.get_running_loop().create_future()
        try:
            result = await self._end(lease, why=why)
        finally:
            del self._running[lease.id]
            running.set_result(result)
        return result

    async def _end(self, lease: Lease, *, why: str) -> tuple[Outcome, int]:
        """Whether it is over at the API now, and how many sessions ended with it. What fails is tried again, later and
        later, and never given up.

        What cannot be ended there is looked at again when it has run out; until then it is said to be out.
        """
        now = int(self._clock.now())
        if lease.state is State.OPENING and self._may_be_in_the_making(lease, now):
            return Outcome.PENDING, 0  # whoever is making it finds that it has ended
        async with self._database.write() as tx:
            pause = min(2**lease.tries, LONGEST_PAUSE_SECONDS)
            if not await store.take(tx, lease, tries=lease.tries + 1, next_at=now + pause):
                found = await store.lease(tx, lease.id)
                is_over = found is not None and found.state in (State.ENDED, State.LOST)
                return (Outcome.DONE if is_over else Outcome.PENDING), 0
        async with self._database.read() as db:
            credential = await store.open_credential(db, lease, ring=self._ring)
        source = self._source(lease)
        has_run_out = lease.upstream_ends_at is not None and now >= lease.upstream_ends_at
        if source is not None and source.ends_by_itself and credential is not None and has_run_out:
            ended = Ended()
        else:
            ended = await self._told(lease, credential)
        async with self._journal.change() as change:
            if ended.problem == RUNS_OUT:
                await store.note(change.tx, lease.id, ended.problem, next_at=lease.upstream_ends_at)
                return Outcome.UNSUPPORTED, 0
            if ended.problem:
                await store.note(change.tx, lease.id, ended.problem)
                return Outcome.PENDING, ended.sessions
            if await store.close(change.tx, lease.id, ended.state):
                event = Event.LEASE_ENDED if ended.state is State.ENDED else Event.LEASE_LOST
                change.record(event, lease.org, lease=lease.id, why=why)
        return Outcome.DONE, ended.sessions

    def _may_be_in_the_making(self, lease: Lease, now: int) -> bool:
        source = self._source(lease)
        return now < lease.opened_at + (LOST_AFTER_SECONDS if source is None else source.lost_after_seconds)

    def _source(self, lease: Lease) -> Source | None:
        return self._sources.known(self._catalogue.get(lease.integration))

    def _runs_out(self, lease: Lease) -> bool:
        """Whether the API has no way to end one credential: then what was made with it ends it, and nothing sooner."""
        source = self._source(lease)
        return source is not None and source.runs_out

    def _is_login(self, lease: Lease) -> bool:
        how = self._catalogue.get(lease.integration)
        return how is not None and how.database is not None

    async def _told(self, lease: Lease, credential: Secret | None) -> Ended:
        """End it there: what came of it."""
        how, source = self._catalogue.get(lease.integration), self._source(lease)
        if how is None or source is None:
            return Ended(state=State.LOST) if credential is None else Ended(problem="no_integration")
        try:
            return await source.revoke(lease, credential, how)
        except Exception as error:
            log.error("the lease %s could not be ended: %s", lease.id, type(error).__name__)
            return Ended(problem="failed")
