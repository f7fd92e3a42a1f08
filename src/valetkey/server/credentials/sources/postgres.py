"""Logins of a database: a role made for one lease, in group roles that have its rights, and dropped at its end.

Obtain: 1. the server says what it is, what time it has, and whether each group has exactly the rights it is to have,
2. where one has not, it is given them, 3. the role, its groups and its line among the live leases are made in one
transaction. Two round trips, where the groups are as they should be.
Revoke: 1. no new session, 2. none that is open, 3. it acts for nobody, 4. what is its own is dropped in every database,
5. the role is dropped. Everything up to 2 holds even if 4 or 5 fail; all of it may be repeated.
"""

import logging
import secrets
from collections.abc import Sequence
from typing import Final

import msgspec

from valetkey.server.connections.databases.model import DatabaseKey, prefix, role_of
from valetkey.server.connections.databases.postgres import groups, store
from valetkey.server.connections.databases.postgres.admin import Admins
from valetkey.server.connections.databases.postgres.model import (
    NewRole,
    Wanted,
    credential,
    group_of,
    group_prefix,
    verifier,
)
from valetkey.server.connections.installation import Minted
from valetkey.server.credentials.lease import Lease
from valetkey.server.credentials.sources.logins import LoginSource
from valetkey.server.credentials.sources.model import Ended, Holder
from valetkey.server.delegations.model import Resource
from valetkey.server.errors import Denied, Expired, ValetkeyError
from valetkey.server.integrations.model import Integration
from valetkey.server.integrations.role import moment
from valetkey.server.secret import Secret

_PASSWORD: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"  # noqa: S105 - an alphabet
_PASSWORD_LENGTH: Final = 43  # 256 bits
log = logging.getLogger("valetkey")


class PostgresSource(LoginSource[Admins]):
    """One per process."""

    async def _obtained(self, lease: Lease, integration: Integration, holder: Holder, /) -> Minted:
        database = integration.database
        assert database is not None
        key = await self._admins.key(lease.connection)
        password = Secret("".join(secrets.choice(_PASSWORD) for _ in range(_PASSWORD_LENGTH)))
        kept = verifier(password, secrets.token_bytes(16))
        wanted = [
            self._wanted(key, scope, database.rights[scope], resource)
            for line in lease.lines
            for scope in sorted(line.scopes)
            for resource in line.resources
        ]
        name = role_of(self._deployment, lease.id)
        async with self._admins.session(lease.connection) as db:
            now = await groups.standing(db, wanted, _written_to(lease))
            _check_writable(now, lease)
            await self.step("groups")
            if not now.has_groups:
                await groups.keep(db, wanted)
            seconds = lease.ends_at - int(self._clock.now())
            if seconds < 1:
                raise Expired("The task has ended.")
            role = NewRole(
                name=name,
                lease=lease.id,
                verifier=kept,
                groups=tuple(sorted({one.group for one in wanted})),
                reads_only=not any("write" in line.scopes for line in lease.lines),
                seconds=seconds,
                user_name=holder.user,
                user_id=lease.user,
                agent_name=holder.agent,
                agent_id=lease.agent,
                task=lease.task,
            )
            await self.step("role")
            await store.make_role(db, role, about=now.server)
        await self.step("made")
        said = credential(
            key, role=name, password=password, lease=lease.id, ends=moment(lease.ends_at), ends_at=lease.ends_at
        )
        text = msgspec.json.encode(said).decode()
        # The name ends it; the password is kept nowhere.
        return Minted(credential=Secret(text), expires_at=lease.ends_at, kept=Secret(name))

    async def there(self, connection: str) -> set[str]:
        """The roles of leases that are there now. Lines about roles that are gone, and groups of tables that are, are
        taken out on the way.
        """
        async with self._admins.session(connection, taking_back=True) as db:
            found = await store.roles(db, prefix(self._deployment))
            if await store.is_prepared(db):
                await store.forget_the_gone(db)
                await groups.drop_useless(db, group_prefix(self._deployment))
        return found

    async def _shut(self, connection: str, names: Sequence[str]) -> int:
        async with self._admins.session(connection, taking_back=True) as db:
            return await store.shut(db, names)

    async def drop(self, connection: str, name: str) -> Ended:
        """End one role, whatever is known of its lease."""
        sessions = 0
        try:
            async with self._admins.session(connection, taking_back=True) as db:
                await self.step("shut")
                sessions = await store.shut(db, [name])
                await self.step("forget")
                remains = await store.remains(db, name)
                if remains.is_prepared:
                    await store.forget(db, name)
            await self.step("owned")
            for database in remains.elsewhere:
                async with self._admins.beside(connection, database) as other:
                    await store.drop_owned(other, name)
            async with self._admins.session(connection, taking_back=True) as db:
                await store.drop_owned(db, name)
                await self.step("drop")
                await store.drop_role(db, name)
            await self.step("dropped")
        except ValetkeyError as error:
            log.warning("the role %s could not be dropped yet: %s %s", name, error.code, error.detail)
            return Ended(problem=error.code, sessions=sessions)
        return Ended(sessions=sessions)

    def _wanted(self, key: DatabaseKey, scope: str, rights: frozenset[str], resource: Resource) -> Wanted:
        kind, oid = ("schema", int(resource.owner)) if resource.is_whole else ("table", int(resource.id))
        group = group_of(self._deployment, database=key.oid, scope=scope, kind=kind, oid=oid)
        if kind == "schema":
            return Wanted(group=group, rights=rights, schema=oid)
        return Wanted(group=group, rights=rights, table=oid)


def _written_to(lease: Lease) -> set[int]:
    """The tables that it may write to."""
    return {int(r.id) for line in lease.lines if "write" in line.scopes for r in line.resources}


def _check_writable(now: groups.Standing, lease: Lease) -> None:
    """A view is written through to tables that nobody named, so only what holds rows itself is written to."""
    for resource in [r for line in lease.lines if "write" in line.scopes for r in line.resources]:
        if int(resource.id) not in now.holding:
            raise Denied(f"{resource.name} holds no rows of its own to be written.", reason="not_leasable")
