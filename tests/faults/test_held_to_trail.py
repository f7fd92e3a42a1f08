"""A row turned back as a whole opens and counts, but the trail still says what was ended (RB-02)."""

import asyncio

from sqlalchemy import delete, insert, select, update

from tests.support.house import House
from tests.support.sealed import rotated
from valetkey.server.db.schema import agents, revoked, users, vault_keys
from valetkey.server.held_to_trail import turned_back


async def found(house: House) -> list[str]:
    return await asyncio.to_thread(turned_back, house.settings)


async def test_what_was_ended_and_counts_again_is_named(house: House) -> None:
    agent, delegation, _, _ = await house.ready()
    bob = await house.person("bob@acme.com")
    app = house.app
    async with app.database.read() as db:
        old_key = (await db.execute(select(vault_keys))).one()
    await house.alice.does("POST", "/v1/revocations", node=delegation["id"])
    await house.alice.does("POST", f"/v1/agents/{agent.id}/suspend")
    await house.alice.does("POST", f"/v1/users/{bob.id}/suspend")
    await rotated(app.data_keys)
    assert await found(house) == []  # as it is, everything agrees

    async with app.database.write() as tx:
        await tx.execute(delete(revoked).where(revoked.c.node == delegation["id"]))
        await tx.execute(update(agents).where(agents.c.id == agent.id).values(status="active"))
        await tx.execute(update(users).where(users.c.id == bob.id).values(status="active"))
        await tx.execute(delete(vault_keys).where(vault_keys.c.id == old_key.id))
        await tx.execute(insert(vault_keys).values(**old_key._mapping))
    assert await found(house) == [
        f"{delegation['id']} was revoked, and is not revoked any more.",
        f"{bob.id} was suspended, and is active again.",
        f"{agent.id} was suspended, and is active again.",
        f"Data key {old_key.id} was destroyed, and is there again.",
    ]


async def test_who_was_resumed_is_no_finding(house: House) -> None:
    agent = await house.agent("pr-reviewer-v2")
    await house.alice.does("POST", f"/v1/agents/{agent.id}/suspend")
    house.clock.advance(1)
    await house.alice.does("POST", f"/v1/agents/{agent.id}/resume")
    assert await found(house) == []
