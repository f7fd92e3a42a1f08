"""Telling an API that a connection has ended: at once when it is revoked, again later when the API does not answer.

`stop` is a hop of a revocation and reports what happened there. `sweep` finds what a crash or a failed try left over,
so a revocation is never forgotten; after a day of trying it says that it gave up, and where a person can end it.

A renewal may bring a credential after its connection ended. If it is kept, it is due like the first one (`again`). If
it cannot be kept it is in this process only (`unkept`): tried again like the others, but not after a crash.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Change, Journal
from valetkey.server.clock import Clock
from valetkey.server.connections import store as connections
from valetkey.server.connections.apps import store as apps
from valetkey.server.connections.apps.model import App
from valetkey.server.connections.ending import store
from valetkey.server.connections.ending.store import State
from valetkey.server.connections.linking import store as linkings
from valetkey.server.connections.model import Connection
from valetkey.server.connections.refreshing import store as refreshing
from valetkey.server.db.engine import Database
from valetkey.server.egress import Egress
from valetkey.server.egress.url import parsed
from valetkey.server.errors import InvalidRequest, UpstreamFailed
from valetkey.server.integrations.authorization import OAuth, Revocation
from valetkey.server.integrations.model import Integration
from valetkey.server.integrations.revocation_request import read_outcome, revocation_request
from valetkey.server.integrations.token_endpoint import Granted
from valetkey.server.revocation.hops import HopReport, Outcome
from valetkey.server.secret import Secret
from valetkey.server.vault.errors import VaultError
from valetkey.server.vault.ring import KeyRing

SWEEP_SECONDS: Final = 2.0
FIRST_TRY_SECONDS: Final = 5
"""For how long the first try is left to who revoked; after that it is taken for forgotten."""
FIRST_PAUSE_SECONDS: Final = 15
LONGEST_PAUSE_SECONDS: Final = 3_600
MOST_TRIES: Final = 32
CALL_SECONDS: Final = 5.0
_MOST_BYTES: Final = 1 << 16
_AT_ONCE: Final = 50

_ONE_ONLY: Final = " Others of the same app may still work there."

log = logging.getLogger("valetkey")


@dataclass(frozen=True, slots=True)
class _Way:
    app: App
    oauth: OAuth
    revocation: Revocation


@dataclass(frozen=True, slots=True)
class _Unkept:
    connection: Connection
    granted: Granted
    tries: int
    next_at: int


class EndThere:
    """One per process."""

    def __init__(
        self,
        *,
        database: Database,
        journal: Journal,
        egress: Egress,
        ring: KeyRing,
        clock: Clock,
        catalogue: Mapping[str, Integration],
    ) -> None:
        self._database = database
        self._journal = journal
        self._egress = egress
        self._ring = ring
        self._clock = clock
        self._catalogue = catalogue
        self._unkept: list[_Unkept] = []

    async def stop(self, nodes: frozenset[str], _seq: int) -> HopReport:
        """The hop of a revocation: every account under one of these nodes, at its API and now."""
        async with self._database.read() as db:
            found = await store.under(db, nodes, limit=_AT_ONCE + 1)
        said = [said for connection, _ in found[:_AT_ONCE] if (said := await self._ended(connection)) is not None]
        if not said:
            return HopReport(hop="at the API", outcome=Outcome.DONE, detail="No account was connected under it.")
        # SECURITY: who reads "done" looks no further. Those that are still to be ended come first in `found`.
        # Guarded by tests/flows/test_ending_there.py::test_more_accounts_than_are_ended_at_once_are_pending
        if any(not is_over for _, is_over in found[_AT_ONCE:]):
            said.append(("pending", "More are still to be ended."))
        words = " ".join(dict.fromkeys(words for _, words in said))
        return HopReport(hop="at the API", outcome=_outcome({state for state, _ in said}), detail=words)

    async def watch(self) -> None:
        """Sweep for as long as the server runs."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            await self.sweep()

    async def sweep(self) -> int:
        """Try what is due; how many were tried."""
        now = int(self._clock.now())
        async with self._database.read() as db:
            due = await store.due(db, now=now, first_by=now - FIRST_TRY_SECONDS, limit=_AT_ONCE)
            found = [c for one in due if (c := await connections.connection(db, one)) is not None]
        await self._end_unkept()
        return len([said for connection in found if (said := await self._ended(connection)) is not None])

    async def again(self, connection: Connection) -> None:
        """End what a renewal brought for a connection that had ended, and what was stored for it."""
        await self._ended(connection)

    async def unkept(self, connection: Connection, granted: Granted) -> None:
        """End what a renewal brought and could not keep, if its connection has ended; else it is nobody's to end."""
        async with self._database.read() as db:
            has_ended = await store.has_ended(db, connection)
        if has_ended:
            self._unkept.append(_Unkept(connection, granted, tries=0, next_at=int(self._clock.now())))
            await self._end_unkept()

    async def _end_unkept(self) -> None:
        now = int(self._clock.now())
        due = [one for one in self._unkept if one.next_at <= now]
        self._unkept = [one for one in self._unkept if one.next_at > now]
        for one in due:
            pause = min(FIRST_PAUSE_SECONDS * 2**one.tries, LONGEST_PAUSE_SECONDS)
            try:
                again = await self._end_one(one, pause)
            except Exception:
                # SECURITY: it is known here and nowhere else; what kept us from ending it must not make us forget it.
                # Guarded by tests/flows/test_ending_there.py::test_what_could_not_be_recorded_is_not_forgotten
                again = replace(one, next_at=now + pause)
            if again is not None:
                self._unkept.append(again)

    async def _end_one(self, one: "_Unkept", pause: int) -> "_Unkept | None":
        """End it there; how it is tried again, or None when it is over."""
        connection, granted = one.connection, one.granted
        way, title = await self._way(connection)
        if isinstance(way, str):
            state: State = "unsupported"
        else:
            of_refresh = way.revocation.of == "refresh" and granted.refresh is not None
            credential = granted.refresh if of_refresh and granted.refresh is not None else granted.access
            shares = way.revocation.kills == "grant" and await self._shares_its_grant(connection, way.app)
            state, _ = await (self._asked_for_one if shares else self._asked)(title, way, credential)
        if state == "pending" and one.tries + 1 < MOST_TRIES:
            return replace(one, tries=one.tries + 1, next_at=int(self._clock.now()) + pause)
        async with self._journal.change() as change:
            _recorded(change, connection, "given_up" if state == "pending" else state)
        return None

    async def _ended(self, connection: Connection) -> tuple[State, str] | None:
        """What became of it now; None when it is being tried elsewhere, or was over before."""
        now = int(self._clock.now())
        async with self._database.write() as tx:
            held = now + FIRST_PAUSE_SECONDS
            tries = await store.take(tx, connection, now=now, next_at=held)
        if tries is None:
            async with self._database.read() as db:
                known = await store.ending(db, connection.facts.id)
            return None if known is None else (known.state, known.detail)
        told, state, detail = await self._told(connection)
        if state == "pending" and tries + 1 >= MOST_TRIES:
            state, detail = "given_up", f"{detail} It was tried {MOST_TRIES} times. End it there by hand."
        async with self._journal.change() as change:
            await store.settle(change.tx, connection.facts.id, state, detail, told=told)
            if state == "pending":
                pause = min(FIRST_PAUSE_SECONDS * 2**tries, LONGEST_PAUSE_SECONDS)
                await store.put_off(change.tx, connection.facts.id, next_at=now + pause)
            else:
                _recorded(change, connection, state)
        return state, detail

    async def _told(self, connection: Connection) -> tuple[int, State, str]:
        """The generation of the credential the API was told about, and what it said."""
        way, title = await self._way(connection)
        if isinstance(way, str):
            return connection.credential_generation, "unsupported", way
        try:
            told, credential = await self._credential(connection.facts.id, of_refresh=way.revocation.of == "refresh")
        except VaultError:
            return connection.credential_generation, "unsupported", _unopened(title)
        if way.revocation.kills == "grant" and await self._shares_its_grant(connection, way.app):
            return told, *await self._asked_for_one(title, way, credential)
        return told, *await self._asked(title, way, credential)

    async def _shares_its_grant(self, connection: Connection, app: App) -> bool:
        """Whether something that is alive hangs on the same consent: surely of this account, or nobody can tell."""
        facts, account = connection.facts, connection.account_id
        async with self._database.read() as db:
            others = await linkings.linked_by(db, app.id, org=facts.org, integration=facts.integration)
        return any(
            other.facts.id != facts.id and (not account or other.account_id in ("", account)) for other in others
        )

    async def _asked_for_one(self, title: str, way: "_Way", credential: Secret) -> tuple[State, str]:
        """End the one credential, and leave what another connection lives by."""
        # SECURITY: what others use by their own consent is not ended with it, and nobody is told that all of it was.
        # Guarded by tests/flows/test_ending_there.py::test_the_grant_is_ended_with_the_last_connection_by_it
        one = way.revocation.of_one()
        lives_on = "Another connection to the same account goes on, and with it what was agreed to there."
        if one is None:
            return "unsupported", f"{title} can only end all of it at once. {lives_on}"
        state, words = await self._asked(title, replace(way, revocation=one), credential)
        return state, f"{words} {lives_on}" if state == "ended" else words

    async def _way(self, connection: Connection) -> tuple["_Way | str", str]:
        """How its API is told, or why it cannot be; and what the API is called."""
        integration = self._catalogue.get(connection.facts.integration)
        title = connection.facts.integration if integration is None else integration.title
        if connection.linked is None:
            return f"The credential for {title} was pasted: end it there, where it was made.", title
        try:
            async with self._database.read() as db:
                app = await apps.app(db, connection.linked.app, self._ring)
        except VaultError:
            return f"The app's secret at {title} cannot be opened any more: end the access at {title}.", title
        oauth = None if app is None else app.way(self._catalogue)
        if app is None or oauth is None:
            return f"The app at {title} is no longer registered here: end the access at {title}.", title
        if oauth.revocation is None:
            no_way = f"{title} has no way to end it from here: end the access in your account at {title}."
            return no_way, title
        return _Way(app, oauth, oauth.revocation), title

    async def _asked(self, title: str, way: "_Way", credential: Secret) -> tuple[State, str]:
        try:
            request = revocation_request(
                way.oauth, way.revocation, credential, client_id=way.app.client_id, client_secret=way.app.secret
            )
            status, _, body = await self._egress.fetch(
                request.method,
                parsed(request.url.reveal()),
                list(request.headers),
                body=None if request.body is None else request.body.reveal().encode(),
                max_bytes=_MOST_BYTES,
                timeout=CALL_SECONDS,
            )
        except ValueError:
            return "unsupported", _unopened(title)
        except (UpstreamFailed, InvalidRequest):
            return "pending", f"{title} did not answer; it is tried again."
        match read_outcome(way.oauth, way.revocation, status, body):
            case "ended":
                rest = "" if way.revocation.kills == "grant" else _ONE_ONLY
                return "ended", f"{title} ended it.{rest}"
            case "was_gone":
                return "ended", f"{title} knew it no more."
            case "not_now":
                return "pending", f"{title} was too busy; it is tried again."
            case "refused":
                log.warning("%s refused to end a credential: %s", title, status)
                return "pending", f"{title} refused to end it; it is tried again."

    async def _credential(self, connection_id: str, *, of_refresh: bool) -> tuple[int, Secret]:
        async with self._database.read() as db:
            current = await refreshing.current(db, connection_id, self._ring)
        if current is None:
            raise VaultError
        found, row = current
        if of_refresh and row is not None and row.sealed is not None:
            return found.credential_generation, refreshing.open_token(row, found, self._ring)
        return found.credential_generation, connections.open_credential(found, self._ring)


def _recorded(change: Change, connection: Connection, state: State) -> None:
    facts = connection.facts
    change.record(
        Event.CONNECTION_ENDED_THERE, facts.org, connection=facts.id, integration=facts.integration, outcome=state
    )


def _unopened(title: str) -> str:
    return f"The credential for {title} cannot be opened any more: end the access there."


def _outcome(states: set[State]) -> Outcome:
    if "pending" in states:
        return Outcome.PENDING
    return Outcome.UNSUPPORTED if states & {"unsupported", "given_up"} else Outcome.DONE
