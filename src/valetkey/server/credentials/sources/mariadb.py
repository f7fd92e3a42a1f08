"""Logins of a MariaDB server: an account made for one lease, in a role that has its rights, and dropped at its end.

Obtain: 1. the role has exactly the rights it is to have, 2. the account is made and lets nobody in, 3. it lets its
holder in. Revoke: 1. it lets nobody in, 2. its sessions end, 3. it is dropped, 4. whoever came in meanwhile is shown
out. Everything up to 2 holds even if 3 fails; all of it may be repeated. Nothing in that server ends an account by
time: whoever sweeps leases does.
"""

import logging
import secrets
from collections.abc import Sequence

import msgspec

from valetkey.server.connections.databases.mariadb import store
from valetkey.server.connections.databases.mariadb.admin import MariaAdmins
from valetkey.server.connections.databases.mariadb.model import (
    NewAccount,
    credential,
    kept,
    names,
    role_of,
    role_prefix,
    wanted,
)
from valetkey.server.connections.databases.model import prefix
from valetkey.server.connections.databases.model import role_of as account_of
from valetkey.server.connections.installation import Minted
from valetkey.server.credentials.lease import Lease
from valetkey.server.credentials.sources.logins import LoginSource
from valetkey.server.credentials.sources.model import Ended, Holder
from valetkey.server.egress.mariadb import Session
from valetkey.server.errors import Denied, Expired, ValetkeyError
from valetkey.server.integrations.model import Integration
from valetkey.server.integrations.role import moment
from valetkey.server.secret import Secret

log = logging.getLogger("valetkey")


class MariaSource(LoginSource[MariaAdmins]):
    """One per process."""

    async def _obtained(self, lease: Lease, integration: Integration, _holder: Holder, /) -> Minted:
        database = integration.database
        assert database is not None
        key = await self._admins.key(lease.connection)
        password = Secret(secrets.token_urlsafe(32).replace("-", "0").replace("_", "1"))
        rights = wanted(
            (resource.name, database.rights[scope])
            for line in lease.lines
            for scope in line.scopes
            for resource in line.resources
        )
        name, role = account_of(self._deployment, lease.id), role_of(self._deployment, rights, login=key.login)
        async with self._admins.session(lease.connection) as db:
            await self._check_writable(db, lease)
            await self.step("role")
            await store.keep_role(db, role, rights)
            if lease.ends_at - int(self._clock.now()) < 1:
                raise Expired("The task has ended.")
            await self.step("account")
            await store.make_account(db, NewAccount(name=name, word=kept(password), tls=key.tls))
            await store.give_role(db, name, role, rights)
            await self.step("open")
            await store.open_account(db, name)
        await self.step("made")
        databases = {one.database for one in rights}
        said = credential(
            key,
            database=databases.pop() if len(databases) == 1 else "",
            name=name,
            password=password,
            lease=lease.id,
            ends=moment(lease.ends_at),
            ends_at=lease.ends_at,
        )
        # The name ends it; the password is kept nowhere.
        return Minted(
            credential=Secret(msgspec.json.encode(said).decode()), expires_at=lease.ends_at, kept=Secret(name)
        )

    async def there(self, connection: str) -> set[str]:
        """The accounts of leases that are there now. Roles that no account has any more are dropped on the way."""
        async with self._admins.session(connection, taking_back=True) as db:
            await store.drop_unused_roles(db, role_prefix(self._deployment))
            return await store.accounts(db, prefix(self._deployment))

    async def _shut(self, connection: str, names: Sequence[str]) -> int:
        async with self._admins.session(connection, taking_back=True) as db:
            return await store.shut(db, names)

    async def drop(self, connection: str, name: str) -> Ended:
        """End one account, whatever is known of its lease."""
        sessions = 0
        try:
            async with self._admins.session(connection, taking_back=True) as db:
                await self.step("shut")
                sessions = await store.shut(db, [name])
                await self.step("drop")
                await store.drop_account(db, name)
                await self.step("dropped")
                # Whoever was signing in while the account was locked is seen only when that is done.
                sessions += await store.show_out(db, [name])
                await store.drop_unused_roles(db, role_prefix(self._deployment))
        except ValetkeyError as error:
            log.warning("the account %s could not be dropped yet: %s %s", name, error.code, error.detail)
            return Ended(problem=error.code, sessions=sessions)
        return Ended(sessions=sessions)

    async def _check_writable(self, db: Session, lease: Lease) -> None:
        """A view is written through to tables that nobody named, so only what holds rows itself is written to."""
        for resource in [r for line in lease.lines if "write" in line.scopes for r in line.resources]:
            found = await store.table(db, *names(resource.name))
            if found is None or not found.holds_rows:
                raise Denied(f"{resource.name} holds no rows of its own to be written.", reason="not_leasable")
