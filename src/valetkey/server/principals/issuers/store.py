"""The only SQL of trusted issuers, and of who is who at an identity provider."""

from typing import Any, Final

import msgspec
from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.db.schema import external_identities, trusted_issuers
from valetkey.server.principals.issuers.model import IssuerKind, Trust, TrustedIssuer

_trust: Final = msgspec.json.Decoder(Trust)


def _issuer(row: Any) -> TrustedIssuer:
    return TrustedIssuer(
        id=row.id,
        org=row.org,
        issuer=row.issuer,
        kind=IssuerKind(row.kind),
        jwks_uri=row.jwks_uri,
        jwks=row.jwks,
        trust=_trust.decode(row.rules),
        created_by=row.created_by,
        created_at=row.created_at,
    )


async def add(tx: AsyncConnection, issuer: TrustedIssuer) -> None:
    await tx.execute(
        insert(trusted_issuers).values(
            id=issuer.id,
            org=issuer.org,
            issuer=issuer.issuer,
            kind=issuer.kind.value,
            jwks_uri=issuer.jwks_uri,
            jwks=issuer.jwks,
            rules=msgspec.json.encode(issuer.trust).decode(),
            created_by=issuer.created_by,
            created_at=issuer.created_at,
        )
    )


async def of_org(
    connection: AsyncConnection, org: str, *, after: str = "", limit: int | None = None
) -> list[TrustedIssuer]:
    """In the order they came; `after` is the id of the last one already seen."""
    query = select(trusted_issuers).where(trusted_issuers.c.org == org, trusted_issuers.c.id > after)
    rows = await connection.execute(query.order_by(trusted_issuers.c.id).limit(limit))
    return [_issuer(row) for row in rows]


async def named(connection: AsyncConnection, org: str, issuer: str) -> list[TrustedIssuer]:
    """Those of the organization that write this into `iss`."""
    query = select(trusted_issuers).where(trusted_issuers.c.org == org, trusted_issuers.c.issuer == issuer)
    return [_issuer(row) for row in await connection.execute(query)]


async def remove(tx: AsyncConnection, org: str, issuer_id: str) -> TrustedIssuer | None:
    """Take it away; what it was, or None when there is no such one in the organization."""
    where = (trusted_issuers.c.id == issuer_id, trusted_issuers.c.org == org)
    row = (await tx.execute(delete(trusted_issuers).where(*where).returning(*trusted_issuers.c))).first()
    return None if row is None else _issuer(row)


async def user_at(connection: AsyncConnection, issuer: str, subject: str) -> str | None:
    """The user an identity provider knows under this subject; nothing else identifies one."""
    where = (external_identities.c.issuer == issuer, external_identities.c.subject == subject)
    row = (await connection.execute(select(external_identities.c.user).where(*where))).first()
    return None if row is None else str(row.user)
