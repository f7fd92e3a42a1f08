"""A connect code from its beginning to its end, by whoever may take each step.

1. `begin`: a command line of its person, or `for_agent`: a call that needed her account; it is bound to her and to what
   is asked, 2. `open`: she types or compares it on our page, in the browser that then goes on; anybody else ends it,
3. the linking (`linking/connect`) settles it, or `decline` does; 4. `of`: who began it asks what became of it.
An agent gets the address of the page and nothing else: no answer of ours tells it what became of the code.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Journal
from valetkey.server.clock import Clock
from valetkey.server.connections.by_code import store
from valetkey.server.connections.by_code.model import (
    CODE_SECONDS,
    MOST_LIVE,
    MOST_OF_AGENTS,
    ConnectCode,
    State,
)
from valetkey.server.connections.linking.connect import Connect
from valetkey.server.db.engine import Database
from valetkey.server.errors import ConnectionRequired, Denied, Expired, NotFound, TooMany, ValetkeyError
from valetkey.server.ids import is_id, new_id
from valetkey.server.integrations.model import Integration
from valetkey.server.policy.model import ConnectionFacts
from valetkey.server.principals.model import Agent, User
from valetkey.server.principals.sessions.model import Session
from valetkey.server.principals.user_codes import from_digest, spelled, typed
from valetkey.server.vault.mac import Mac


class Tries(Protocol):
    """Counts wrong codes, of a session, of a person, of an address."""

    async def try_code(self, user: User, *, session: str, address: str) -> list[str]: ...
    async def give_back(self, keys: list[str]) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A code as it is shown to whoever began it."""

    code: ConnectCode
    shown: str
    page: str
    page_with_code: str


class ConnectCodes:
    """One per process."""

    def __init__(
        self,
        *,
        database: Database,
        journal: Journal,
        connect: Connect,
        tries: Tries,
        mac: Mac,
        clock: Clock,
        catalogue: Mapping[str, Integration],
        base: str,
    ) -> None:
        self._database = database
        self._journal = journal
        self._connect = connect
        self._tries = tries
        self._mac = mac
        self._clock = clock
        self._catalogue = catalogue
        self._base = base

    async def begin(
        self, integration: str, scopes: Collection[str], *, connection: str | None, shared: bool, by: User
    ) -> Begun:
        """A code for her own command line. `scopes` are ours: what is asked for there follows from them."""
        _, way = await self._connect.app(integration, by.org)
        unknown = [scope for scope in scopes if scope not in self._catalogue[integration].scopes]
        if unknown:
            raise NotFound(
                f"{integration} has no scope {unknown[0][:64]}.", hint=f"valetkey integrations show {integration}"
            )
        if shared and not by.is_administrator:
            raise Denied("Only an administrator shares a connection.", reason="not_administrator")
        now = int(self._clock.now())
        code = ConnectCode(
            id=new_id("cnc"),
            org=by.org,
            user=by.id,
            agent=None,
            integration=integration,
            permissions=way.asked_for(scopes) if scopes else (),
            connection=connection,
            shared=shared,
            state=State.WAITING,
            created_at=now,
            expires_at=now + CODE_SECONDS,
        )
        if connection is not None:
            await self._connect.check_again(connection, by)
        return await self._kept(code, most=MOST_LIVE)

    async def for_agent(self, error: ConnectionRequired, facts: ConnectionFacts, *, user: User, agent: Agent) -> None:
        """Put into a refusal the address where its person connects the account again; the same while that may help.

        SECURITY: what an agent is given leads a browser of that person to a question, and tells the agent nothing.
        Guarded by tests/flows/test_connecting_by_code.py::test_an_agent_is_given_a_link_that_is_hers_alone
        """
        page = f"{self._base}/connections"
        try:
            if facts.owner == user.id:
                page = await self._page_for(facts, user=user, agent=agent) or page
        except ValetkeyError:
            pass  # the page all connections are on leads her there, too
        error.members |= {"integration": facts.integration, "connection": facts.id, "link": page}
        error.next_step = f"Ask the person you act for to connect the account again: {page}"

    async def _page_for(self, facts: ConnectionFacts, *, user: User, agent: Agent) -> str | None:
        now = int(self._clock.now())
        async with self._database.read() as db:
            last = await store.last_of(db, user=user.id, agent=agent.id, connection=facts.id, now=now)
        if last is not None and last.state is not State.LINKED:
            # Who declined, or goes on already, is not asked anew by every call of the same ten minutes.
            return self._begun(last).page_with_code if last.state is State.WAITING else None
        await self._connect.app(facts.integration, facts.org)
        code = ConnectCode(
            id=new_id("cnc"),
            org=facts.org,
            user=user.id,
            agent=agent.id,
            integration=facts.integration,
            permissions=(),
            connection=facts.id,
            shared=False,
            state=State.WAITING,
            created_at=now,
            expires_at=now + CODE_SECONDS,
        )
        return (await self._kept(code, most=MOST_OF_AGENTS)).page_with_code

    async def _kept(self, code: ConnectCode, *, most: int) -> Begun:
        begun = self._begun(code)
        async with self._journal.change() as change:
            live, first_over = await store.live(
                change.tx, code.user, now=code.created_at, of_agents=code.agent is not None
            )
            if live >= most:
                raise TooMany(
                    f"{live} connections were begun for this person within ten minutes.",
                    hint="Finish one of them, or wait and begin again.",
                    retry_after=max(1, first_over - code.created_at),
                )
            await store.add(change.tx, self._hidden(begun.shown), code)
            members = {"code": code.id, "user": code.user, "integration": code.integration}
            by_agent = {} if code.agent is None else {"agent": code.agent, "connection": code.connection or ""}
            change.record(Event.CONNECTION_CODE_ISSUED, code.org, **members, **by_agent)
        return begun

    async def of(self, code_id: str, *, by: User) -> ConnectCode:
        """What became of a code of hers. Raises `NotFound` for all others."""
        async with self._database.read() as db:
            found = await store.by_id(db, code_id) if is_id(code_id, "cnc") else None
        if found is None or found.user != by.id or found.agent is not None:
            raise NotFound("There is no such code, or it is not yours.", hint="Begin again: valetkey connect NAME")
        return found

    async def open(self, text: str, user: User, session: Session, *, address: str) -> ConnectCode:
        """She typed it: from now on it is this browser's. Raises `NotFound`, `TooMany`, and `Denied` for another's."""
        counted = await self._tries.try_code(user, session=session.id, address=address)
        code, now = typed(text), int(self._clock.now())
        async with self._database.read() as db:
            found = None if code is None else await store.by_mac(db, self._hidden(code))
        if found is None or found.state is not State.WAITING or now >= found.expires_at:
            raise _no_such_code()
        if found.user != user.id:
            await self._refused(found, user, now=now)
            raise Denied(
                "Somebody else began to connect this account.",
                hint="Nothing was connected. Never go on with a code or a link that somebody sent you.",
                reason="another_person",
            )
        async with self._journal.change() as change:
            if not await store.open_in(change.tx, found, session.id, now=now):
                raise _no_such_code()
            change.record(
                Event.CONNECTION_CODE_OPENED,
                found.org,
                code=found.id,
                user=user.id,
                session=session.id,
                integration=found.integration,
            )
        await self._tries.give_back(counted)
        return found

    async def opened(self, code_id: str, user: User, session: Session) -> ConnectCode:
        """The code she opened in this very browser, while it leads anywhere. Raises `Expired`."""
        async with self._database.read() as db:
            found = await store.by_id(db, code_id) if is_id(code_id, "cnc") else None
        if found is None or (found.user, found.session) != (user.id, session.id):
            raise _over()
        if found.state is not State.OPENED or found.told(self._clock.now()) != "pending":
            raise _over()
        return found

    async def decline(self, code_id: str, user: User, session: Session) -> None:
        """She said no on our page."""
        found = await self.opened(code_id, user, session)
        async with self._journal.change() as change:
            now = int(self._clock.now())
            if not await store.settle(change.tx, found.id, State.DECLINED, now=now, reason="declined"):
                raise _over()
            change.record(Event.CONSENT_DECLINED, found.org, user=user.id, code=found.id, integration=found.integration)

    async def _refused(self, found: ConnectCode, by: User, *, now: int) -> None:
        """Somebody else opened it: it is over, and both people have a record."""
        members = {
            "code": found.id,
            "integration": found.integration,
            "user": found.user,
            "by": by.id,
            "reason": "another_person",
        }
        async with self._journal.change() as change:
            if not await store.settle(change.tx, found.id, State.REFUSED, now=now, reason="another_person"):
                return
            # SECURITY: nobody of another organization learns who it was, only that something was tried.
            # Guarded by tests/flows/test_connecting_by_code.py::test_oa_10_whoever_else_opens_it_ends_it
            stranger = "" if by.org != found.org else by.id
            change.record(Event.CONNECTION_LINK_REFUSED, found.org, **members | {"by": stranger})
            hers = members | {"user": found.user if by.org == found.org else "", "for": by.id}
            change.record(Event.CONNECTION_LINK_REFUSED, by.org, **hers)

    def _begun(self, code: ConnectCode) -> Begun:
        # NOTE: the letters follow from the id and the server's own key, so the same code can be shown again, and
        # whoever reads the table cannot tell them.
        letters = from_digest(self._mac.mac_of("connect-code-letters", "cc", code.id.encode()))
        page = f"{self._base}/connect"
        return Begun(code=code, shown=letters, page=page, page_with_code=f"{page}?code={spelled(letters)}")

    def _hidden(self, letters: str) -> bytes:
        return self._mac.mac_of("connect-code", "cc", letters.encode())


def _no_such_code() -> NotFound:
    return NotFound(
        "This code is not valid, was used, or has expired.",
        hint="Compare it with the one that is shown where you began, or begin again there.",
    )


def _over() -> Expired:
    return Expired(
        "This was finished already, was opened in another browser, or has expired.", hint="Begin again where you began."
    )
