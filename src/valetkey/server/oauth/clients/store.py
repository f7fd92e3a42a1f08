"""The only SQL of OAuth clients."""

from dataclasses import dataclass
from typing import Any, Final

import msgspec
from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.db.schema import agent_clients, attempts, client_agents, initial_access_tokens, outside_clients
from valetkey.server.errors import Conflict, TooMany
from valetkey.server.oauth.clients.model import Client, ClientKind, ClientMetadata

_metadata: Final = msgspec.json.Decoder(ClientMetadata)


async def metadata_of_agent(connection: AsyncConnection, agent: str) -> ClientMetadata | None:
    """What the owner registered of an agent as a client."""
    row = (await connection.execute(select(agent_clients.c.metadata).where(agent_clients.c.agent == agent))).first()
    return None if row is None else _metadata.decode(row.metadata)


async def put_metadata_of_agent(tx: AsyncConnection, agent: str, metadata: ClientMetadata, *, now: int) -> None:
    await tx.execute(delete(agent_clients).where(agent_clients.c.agent == agent))
    text = msgspec.json.encode(metadata).decode()
    await tx.execute(insert(agent_clients).values(agent=agent, metadata=text, changed_at=now))


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """A client that registered itself. What may be kept of its secret and of its management token are their MACs."""

    client: Client
    secret_mac: bytes | None
    management_mac: bytes | None
    created_at: int
    last_used_at: int
    expires_at: int | None

    def is_kept(self, now: int) -> bool:
        """Whether somebody used it lately enough."""
        return self.expires_at is None or now < self.expires_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Which agent a client is for a user, and what the client said of itself when she agreed."""

    agent: str
    digest: str


def _registered(row: Any) -> Registered:
    metadata = _metadata.decode(row.metadata)
    client = Client(
        id=row.id, kind=ClientKind.DYNAMIC, name=metadata.name or row.id, principal=None, metadata=metadata, org=row.org
    )
    return Registered(
        client=client,
        secret_mac=row.secret_mac,
        management_mac=row.management_mac,
        created_at=row.created_at,
        last_used_at=row.last_used_at,
        expires_at=row.expires_at,
    )


async def registered(connection: AsyncConnection, client_id: str) -> Registered | None:
    row = (await connection.execute(select(outside_clients).where(outside_clients.c.id == client_id))).first()
    return None if row is None else _registered(row)


async def add_registered(tx: AsyncConnection, one: Registered) -> None:
    metadata = one.client.metadata
    await tx.execute(
        insert(outside_clients).values(
            id=one.client.id,
            kind=one.client.kind.value,
            org=one.client.org,
            metadata=msgspec.json.encode(metadata).decode(),
            digest=metadata.digest,
            secret_mac=one.secret_mac,
            management_mac=one.management_mac,
            created_at=one.created_at,
            last_used_at=one.last_used_at,
            expires_at=one.expires_at,
        )
    )


async def replace_registered(
    tx: AsyncConnection, client_id: str, *, held: bytes, metadata: ClientMetadata, management_mac: bytes
) -> bool:
    """Replace what a client says of itself and its management token; False when the held one is not current."""
    changed = await tx.execute(
        update(outside_clients)
        .where(outside_clients.c.id == client_id, outside_clients.c.management_mac == held)
        .values(metadata=msgspec.json.encode(metadata).decode(), digest=metadata.digest, management_mac=management_mac)
    )
    return changed.rowcount == 1


async def rotate_management(tx: AsyncConnection, client_id: str, *, held: bytes, management_mac: bytes) -> bool:
    """Replace the management token; False when the held one is not current."""
    changed = await tx.execute(
        update(outside_clients)
        .where(outside_clients.c.id == client_id, outside_clients.c.management_mac == held)
        .values(management_mac=management_mac)
    )
    return changed.rowcount == 1


async def remove_registered(tx: AsyncConnection, client_id: str, *, held: bytes) -> bool:
    """Forget the client; False when the held management token is not current."""
    where = (outside_clients.c.id == client_id, outside_clients.c.management_mac == held)
    return (await tx.execute(delete(outside_clients).where(*where))).rowcount == 1


async def remove_unused(tx: AsyncConnection, *, now: int) -> None:
    """Forget the registered clients nobody used in time."""
    await tx.execute(delete(outside_clients).where(outside_clients.c.expires_at <= now))


async def note_use(tx: AsyncConnection, client_id: str, *, now: int, expires_at: int) -> None:
    await tx.execute(
        update(outside_clients).where(outside_clients.c.id == client_id).values(last_used_at=now, expires_at=expires_at)
    )


async def agent_of(connection: AsyncConnection, user: str, client: str) -> Standing | None:
    """Which agent this client is for the user."""
    where = (client_agents.c.user == user, client_agents.c.client == client)
    row = (await connection.execute(select(client_agents).where(*where))).first()
    return None if row is None else Standing(agent=row.agent, digest=row.digest)


async def client_of(connection: AsyncConnection, agent: str) -> str | None:
    """The outside client this agent is; None for an agent that was registered here."""
    row = (await connection.execute(select(client_agents.c.client).where(client_agents.c.agent == agent))).first()
    return None if row is None else str(row.client)


async def agents_of_client(connection: AsyncConnection, client: str) -> list[str]:
    """Every agent this client is for somebody."""
    rows = await connection.execute(select(client_agents.c.agent).where(client_agents.c.client == client))
    return [row.agent for row in rows]


async def add_agent_of(tx: AsyncConnection, user: str, client: Client, agent: str, *, now: int) -> None:
    """Raises `Conflict` when the client already is an agent of that user's."""
    values = {"user": user, "client": client.id, "agent": agent, "digest": client.metadata.digest, "created_at": now}
    try:
        async with tx.begin_nested():
            await tx.execute(insert(client_agents).values(values))
    except IntegrityError as error:
        raise Conflict("This client was agreed to at the same moment.") from error


async def agree(tx: AsyncConnection, user: str, client: Client) -> None:
    """The user agreed to the client as it describes itself now."""
    where = (client_agents.c.user == user, client_agents.c.client == client.id)
    await tx.execute(update(client_agents).where(*where).values(digest=client.metadata.digest))


async def add_initial_token(
    tx: AsyncConnection, mac: bytes, *, org: str, by: str, uses: int, now: int, expires_at: int
) -> None:
    await tx.execute(
        insert(initial_access_tokens).values(
            mac=mac, org=org, created_by=by, left=uses, created_at=now, expires_at=expires_at
        )
    )


async def use_initial_token(tx: AsyncConnection, mac: bytes, *, now: int) -> str | None:
    """Use it once more; the organization it registers for, or None when it is used up, expired or unknown."""
    row = (
        await tx.execute(
            update(initial_access_tokens)
            .where(
                initial_access_tokens.c.mac == mac,
                initial_access_tokens.c.left > 0,
                initial_access_tokens.c.expires_at > now,
            )
            .values(left=initial_access_tokens.c.left - 1)
            .returning(initial_access_tokens.c.org)
        )
    ).first()
    return None if row is None else str(row.org)


async def attempted(tx: AsyncConnection, key: str, *, now: int, seconds: int) -> int:
    """Count one attempt under `key`; how many there were in the present window."""
    in_window, over = attempts.c.began_at > now - seconds, attempts.c.began_at <= now - seconds
    again = update(attempts).where(attempts.c.key == key, in_window).values(count=attempts.c.count + 1)
    anew = update(attempts).where(attempts.c.key == key, over).values(began_at=now, count=1)
    for _ in range(2):
        for counting in (again, anew):
            counted = (await tx.execute(counting.returning(attempts.c.count))).first()
            if counted is not None:
                return int(counted.count)
        try:
            async with tx.begin_nested():
                await tx.execute(insert(attempts).values(key=key, began_at=now, count=1))
        except IntegrityError:  # somebody else was first, and is counted: now there is a row
            continue
        return 1
    raise TooMany("Too many at once.", retry_after=1)
