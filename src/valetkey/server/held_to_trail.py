"""Whether the tables still say what the audit trail says was done last: a row turned back as a whole shows (RB-02).

The trail is under the checkpoints and offline proof; a single row is not. So what ended is looked up in both: nodes
that were revoked, people, agents and service accounts that were suspended, data keys that were destroyed. Reads only.
"""

import asyncio
from collections.abc import Iterable

from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.audit.find import said
from valetkey.server.audit.model import AuditRecord, Event
from valetkey.server.db import admin
from valetkey.server.principals import store as principals
from valetkey.server.principals.model import Status
from valetkey.server.revocation import store as revocation
from valetkey.server.settings import Settings
from valetkey.server.vault.ring import KeyState
from valetkey.server.vault.store import key_rows

_MOST_SAID = 20
_AT_ONCE = 500
_STATUS = {
    "user": (Event.USER_SUSPENDED, Event.USER_RESUMED),
    "agent": (Event.AGENT_SUSPENDED, Event.AGENT_RESUMED),
    "service_account": (Event.SERVICE_ACCOUNT_SUSPENDED, Event.SERVICE_ACCOUNT_RESUMED),
}


def turned_back(settings: Settings) -> list[str]:
    """What counts again although the trail says that it was ended, in sentences; at most twenty."""

    async def run() -> list[str]:
        database = admin.reader(settings)
        try:
            async with database.read() as db:
                found = [*await _revoked(db), *await _suspended(db), *await _destroyed(db)]
        finally:
            await database.close()
        return found[:_MOST_SAID]

    return asyncio.run(run())


async def _revoked(db: AsyncConnection) -> list[str]:
    nodes = sorted(_named(await said(db, [Event.NODE_REVOKED]), "node"))
    still: set[str] = set()
    for start in range(0, len(nodes), _AT_ONCE):
        still |= await revocation.among(db, nodes[start : start + _AT_ONCE])
    return [f"{node} was revoked, and is not revoked any more." for node in nodes if node not in still]


async def _suspended(db: AsyncConnection) -> list[str]:
    found = []
    for member, (suspended, resumed) in _STATUS.items():
        last = {str(r.members.get(member)): r.event for r in await said(db, [suspended, resumed])}
        for one in sorted(one for one, event in last.items() if event == suspended.value):
            if await _status(db, member, one) is Status.ACTIVE:
                found.append(f"{one} was suspended, and is active again.")
    return found


async def _status(db: AsyncConnection, member: str, one: str) -> Status | None:
    match member:
        case "user":
            user = await principals.user(db, one)
            return None if user is None else user.status
        case "agent":
            agent = await principals.agent(db, one)
            return None if agent is None else agent.status
        case _:
            account = await principals.service_account(db, one)
            return None if account is None else account.status


async def _destroyed(db: AsyncConnection) -> list[str]:
    gone = _named(await said(db, [Event.DATA_KEY_DESTROYED]), "key")
    rows = await key_rows(db)
    again = sorted(row.id for row in rows if row.id in gone and row.state is not KeyState.DESTROYED)
    return [f"Data key {key} was destroyed, and is there again." for key in again]


def _named(records: Iterable[AuditRecord], member: str) -> set[str]:
    return {str(record.members.get(member)) for record in records}
