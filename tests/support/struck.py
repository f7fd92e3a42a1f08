"""A storm in which processes are killed while they hold: what became of every account, by the API's own books.

Three are killed, at three moments: one when its holds are durable and the API was not asked; one when the API has
answered and nothing is kept; one when a request arrives at the API. The others go on, a new one takes the place of the
dead, and their clocks move on while they wait, past the end of the holds of the dead.
"""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import text

from tests.support.hostile_provider import HostileProvider
from tests.support.house import House
from tests.support.storm import Worker, workers
from valetkey.server.connections import store as connections
from valetkey.server.connections.refreshing.model import HELD_SECONDS
from valetkey.server.connections.refreshing.refresh import AT_ONCE

_KILLS_AT = (10, 20, 30)
"""At which request of the storm each of the three dies."""


@dataclass
class Aftermath:
    """`outcomes` of those that lived; who was killed: before asking, after the answer, and when a request arrived."""

    outcomes: list[dict[str, int]]
    before_asking: Worker
    after_the_answer: Worker
    at_the_api: Worker
    survivors: list[Worker]

    @property
    def killed(self) -> list[Worker]:
        return [self.before_asking, self.after_the_answer, self.at_the_api]


@dataclass
class Account:
    """One account afterwards, in the database, in the API's books, and by who held it."""

    name: str
    state: str
    generation: int
    problem: str | None
    works: bool
    """Whether the credential that is kept is the one that works at the API."""
    asked: int
    answered: int
    refused: int
    held_by_killed: int
    held_by_survivors: int


async def strike(house: House, provider: HostileProvider, folder: Path, *, processes: int) -> Aftermath:
    """Let the storm begin, kill, and wait until everybody who lives has an answer for every account."""
    async with workers(house, provider, folder, processes, patience_seconds=2 * HELD_SECONDS) as started:
        before_asking, after_the_answer, at_the_api, *survivors = started
        before_asking.tell("renew held")
        after_the_answer.tell("renew answered")
        await before_asking.stands(AT_ONCE)
        await after_the_answer.stands(AT_ONCE)
        victims = dict(zip(_KILLS_AT, (before_asking, after_the_answer, at_the_api), strict=True))
        arrived = 0

        def at_call(_family: str) -> None:
            nonlocal arrived
            arrived += 1
            if arrived in victims:
                victims[arrived].kill()

        provider.at_call = at_call
        for worker in (at_the_api, *survivors):
            worker.tell("renew")
        assert [await worker.heard() for worker in victims.values()] == [None] * 3  # they are dead
        async with workers(house, provider, folder / "again", 1, patience_seconds=2 * HELD_SECONDS) as again:
            survivors += again
            again[0].tell("renew")
            while await _not_taken(house) or any([await worker.is_busy() for worker in survivors]):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            for worker in survivors:  # they wait for the dead
                worker.tell(f"advance {HELD_SECONDS}")
            outcomes = await asyncio.gather(*(worker.heard() for worker in survivors))
    return Aftermath(outcomes, before_asking, after_the_answer, at_the_api, survivors)


async def accounts(house: House, provider: HostileProvider, aftermath: Aftermath) -> list[Account]:
    """What became of each."""
    ring, found = house.app.refresh._ring, []
    async with house.app.database.read() as db:
        query = "SELECT c.id, c.name, r.state, r.generation, r.problem FROM connections c JOIN refreshables r"
        for row in (await db.execute(text(f"{query} ON r.connection = c.id ORDER BY c.name"))).all():
            kept = await connections.with_credential(db, row.id, ring)
            assert kept is not None
            family = row.name.replace("shared-", "f")
            credential = connections.open_credential(kept, ring).reveal()
            found.append(
                Account(
                    name=row.name, state=row.state, generation=row.generation, problem=row.problem,
                    works=provider.access[family] == credential, asked=provider.calls[family],
                    answered=provider._given[family] - 1, refused=provider.refused[family],
                    held_by_killed=sum(worker.held.count(row.name) for worker in aftermath.killed),
                    held_by_survivors=sum(worker.held.count(row.name) for worker in aftermath.survivors),
                )
            )  # fmt: skip
    return found


async def recorded(house: House) -> list[tuple[str, str]]:
    """The audit trail of renewing: event, problem."""
    async with house.app.database.read() as db:
        bodies = [json.loads(row.body) for row in await db.execute(text("SELECT body FROM audit_records"))]
    return [_event(body) for body in bodies if str(body["event"]).startswith(("connection.re", "connection.needs-"))]


def _event(body: dict[str, Any]) -> tuple[str, str]:
    return body["event"].partition(".")[2], body.get("problem", "")


async def _not_taken(house: House) -> int:
    """Accounts that are neither renewed nor held by anybody."""
    async with house.app.database.read() as db:
        query = "SELECT count(*) FROM refreshables WHERE generation = 1 AND state <> 'held'"
        return int((await db.execute(text(query))).scalar() or 0)
