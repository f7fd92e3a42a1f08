"""A connected database, whatever its kind, and the names of what is made in it. Pure.

Every name is written in our own alphabet, so that quoting it is a formality.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Final

STATEMENT_SECONDS: Final = 60
CONNECTIONS: Final = 10
"""How many sessions of one role there may be at once: a pool of SQLAlchemy's is five and ten more on demand."""
_ROLE: Final = re.compile(r"v[kgq]_[0-9a-f]{8}_[0-9a-z]{16,40}")

Turn = tuple[str, bool]
"""Which connection, and whether it is taken back from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseKey:
    """Where a database is and by which login it is administered. `oid` is the server's own number of it.

    `tls` is off for a place inside this machine alone.
    """

    host: str
    port: int
    database: str
    login: str
    tls: bool
    oid: int = 0
    version: int = 0
    server: str = "postgresql"
    """The scheme of its address. A connection to MariaDB is to the whole server: `database` is empty, `oid` is 0."""

    @property
    def place(self) -> str:
        """`host:port`, as settings write it."""
        return f"{self.host}:{self.port}"

    @property
    def address(self) -> str:
        """Without anything secret."""
        return f"{self.server}://{self.place}" + (f"/{self.database}" if self.database else "")


def prefix(deployment: str) -> str:
    """What the roles of one deployment begin with: two may share a server, and each sweeps its own.

    >>> prefix("org_1") == prefix("org_1") != prefix("org_2")
    True
    """
    return f"vk_{hashlib.sha256(deployment.encode()).hexdigest()[:8]}_"


def role_of(deployment: str, lease: str) -> str:
    """The name of a lease's role: one lease, one name, for ever."""
    return prefix(deployment) + lease.removeprefix("lse_")


def lease_of(role: str, deployment: str) -> str:
    """The lease a role belongs to; empty for what is no role of this deployment's leases.

    >>> lease_of(role_of("org_1", "lse_01abc"), "org_1"), lease_of("postgres", "org_1")
    ('lse_01abc', '')
    """
    return "lse_" + role.removeprefix(prefix(deployment)) if role.startswith(prefix(deployment)) else ""


def quoted(role: str) -> str:
    """A role of ours as an identifier. Raises `ValueError` for a name that is none of ours.

    >>> quoted("vk_0123abcd_0123456789abcdef")
    '"vk_0123abcd_0123456789abcdef"'
    """
    # SECURITY: the only way a name becomes part of a statement.
    # Guarded by tests/rules/test_databases.py::test_a_name_of_another_alphabet_is_never_written
    if _ROLE.fullmatch(role) is None:
        raise ValueError("not a role of ours")
    return f'"{role}"'
