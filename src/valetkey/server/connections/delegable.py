"""What a person may delegate now: which connections, and the lines that bound it.

Through an account of her own, all it can do; through a shared one, only what an administrator entitled her to. The
API and the consent page ask here, so that neither can offer more than the other.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.connections import store
from valetkey.server.connections.lookup import Lookups
from valetkey.server.connections.model import Connection
from valetkey.server.delegations import store as delegations
from valetkey.server.delegations.model import Grant, Resource
from valetkey.server.errors import ConnectionRequired, InvalidRequest
from valetkey.server.integrations.model import Integration
from valetkey.server.principals.model import User
from valetkey.server.revocation import store as revocation


@dataclass(frozen=True, slots=True, kw_only=True)
class Delegable:
    """`connections` are alive; `allowed` holds every line she may delegate a part of."""

    user: User
    connections: tuple[Connection, ...]
    allowed: tuple[Grant, ...]
    registered: frozenset[str] = field(default_factory=frozenset)
    """Resource servers of her organization: nothing has to be connected for them."""

    async def bound(self, grant: Grant, lookups: Lookups) -> Grant:
        """The line over the one connection it means, each named resource bound to the id it has now."""
        if grant.integration in self.registered and not grant.connection:
            return grant  # the server's own names, which only it understands
        return await lookups.bind(self.chosen(grant).facts, grant)

    def chosen(self, grant: Grant) -> Connection:
        """The one connection a grant means: the one it names, or the only one there is. Never one by accident."""
        fitting = [c for c in self.connections if c.facts.integration == grant.integration]
        if grant.connection:
            fitting = [c for c in fitting if grant.connection in (c.facts.name, c.facts.id)]
        if not fitting:
            raise ConnectionRequired(
                f"No {grant.integration} account is connected that this could use.",
                hint=f"Connect one: valetkey connect {grant.integration} --token-stdin",
                integration=grant.integration,
            )
        if len(fitting) > 1:
            names = ", ".join(sorted(c.facts.name for c in fitting))
            raise InvalidRequest(
                f"Several {grant.integration} accounts are connected: {names}.",
                hint=f"Name one: {grant.integration}/NAME:scope@resource",
            )
        return fitting[0]

    def is_shared(self, grant: Grant) -> bool:
        """Whether the line goes through a connection of the organization."""
        return any(c.facts.id == grant.connection and c.facts.owner is None for c in self.connections)


async def delegable(
    db: AsyncConnection, user: User, catalogue: Mapping[str, Integration], *, shared_only: bool = False
) -> Delegable:
    """What `user` may delegate; `shared_only` for an administrator who speaks for somebody else."""
    usable = await store.usable_by(db, org=user.org, user=user.id)
    gone = await revocation.among(db, {c.facts.id for c in usable})
    live = tuple(c for c in usable if c.facts.id not in gone and not (shared_only and c.facts.owner is not None))
    shared = [c.facts.id for c in live if c.facts.owner is None]
    own = [_everything(c, catalogue[c.facts.integration]) for c in live if c.facts.owner == user.id]
    # An administrator speaks for somebody else only over what she was entitled to, and for these nobody is.
    registered = () if shared_only else tuple(i for i in catalogue.values() if i.org == user.org)
    return Delegable(
        user=user,
        connections=live,
        allowed=(*own, *map(_all_of, registered), *await delegations.entitlements_of(db, user.id, shared)),
        registered=frozenset(i.name for i in registered),
    )


def _all_of(registered: Integration) -> Grant:
    return Grant(
        integration=registered.name,
        connection="",
        scopes=frozenset(registered.scopes),
        resources=(Resource(name="*"),),
    )


def _everything(connection: Connection, integration: Integration) -> Grant:
    scopes = frozenset(integration.scopes)
    return Grant(
        integration=integration.name,
        connection=connection.facts.id,
        scopes=scopes if "*" in connection.facts.powers else scopes & connection.facts.powers,
        resources=(Resource(name="*"),),
    )
