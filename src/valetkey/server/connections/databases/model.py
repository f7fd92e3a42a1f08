"""A connected database and the roles made in it: addresses, names and passwords. Pure.

Every name is written in our own alphabet, so that quoting it is a formality; what people chose (an e-mail address, the
name of an agent) becomes part of a statement only as digits that the server reads back. The password of a role is sent
as what the server keeps of it (RFC 5803), so that a log of statements holds nothing to sign in with.
"""

import hashlib
import hmac
import re
from base64 import b64encode
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote

from valetkey.server.connections.databases.address import NAME, read_address
from valetkey.server.errors import InvalidRequest
from valetkey.server.secret import Secret

SCHEMA: Final = "valetkey"
STATEMENT_SECONDS: Final = 60
IDLE_SECONDS: Final = 300
CONNECTIONS: Final = 10
"""How many sessions of one role there may be at once: a pool of SQLAlchemy's is five and ten more on demand."""
OLDEST: Final = 140_000
_ITERATIONS: Final = 4_096
_ROLE: Final = re.compile(r"v[kgq]_[0-9a-f]{8}_[0-9a-z]{16,40}")


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A group role, and the rights it is to have: on one table, or on every table of a schema, by the server's oids."""

    group: str
    rights: frozenset[str]
    table: int = 0
    schema: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRole:
    """A login that is to be made, and whom its sessions act for."""

    name: str
    lease: str
    verifier: str
    groups: tuple[str, ...]
    reads_only: bool
    seconds: int
    user_name: str
    user_id: str
    agent_name: str
    agent_id: str
    task: str


def parse_url(url: str) -> tuple[DatabaseKey, Secret]:
    """A URL with a login and its password, in parts. Raises `InvalidRequest` for anything ambiguous.

    >>> key, _ = parse_url("postgresql://owner:s3cret@db.acme.com/shop")
    >>> key.address, key.login, key.tls
    ('postgresql://db.acme.com:5432/shop', 'owner', True)
    """
    wrong = InvalidRequest(
        "This is not the address of a PostgreSQL database.",
        hint="Write it like postgresql://LOGIN:PASSWORD@HOST:PORT/DATABASE",
    )
    found = read_address(url, schemes=("postgresql", "postgres"), port=5432, wrong=wrong)
    database = unquote(found.path.removeprefix("/"))
    if not NAME.fullmatch(database):
        raise wrong
    key = DatabaseKey(host=found.host, port=found.port, database=database, login=found.login, tls=found.tls)
    return key, found.password


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


def question_prefix(deployment: str) -> str:
    """What the roles of single questions begin with.

    >>> question_prefix("org_1") == prefix("org_1")
    False
    """
    return prefix(deployment).replace("vk_", "vq_", 1)


def question_role(deployment: str, decision: str) -> str:
    """The role that asks one question: one recorded decision, one name."""
    return question_prefix(deployment) + decision.removeprefix("aud_")


def group_prefix(deployment: str) -> str:
    """What the group roles begin with.

    >>> group_prefix("org_1") == prefix("org_1")
    False
    """
    return prefix(deployment).replace("vk_", "vg_", 1)


def group_of(deployment: str, *, database: int, scope: str, kind: str, oid: int) -> str:
    """The name of the group role that has one scope on one thing of one database."""
    mark = hashlib.sha256(f"{database} {scope} {kind} {oid}".encode()).hexdigest()[:24]
    return group_prefix(deployment) + mark


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


def literal(text: str) -> str:
    """Text that people chose, as an expression of SQL that holds nothing but digits of it.

    >>> literal("it's")
    "pg_catalog.convert_from(pg_catalog.decode('69742773', 'hex'), 'UTF8')"
    """
    # SECURITY: no quoting to get wrong, under any setting of the server and in any encoding.
    # Guarded by tests/attacks/test_database_callers.py::test_a_name_that_is_sql_is_only_a_name
    return f"pg_catalog.convert_from(pg_catalog.decode('{text.encode().hex()}', 'hex'), 'UTF8')"


def verifier(password: Secret, salt: bytes) -> str:
    """What the server keeps of a password: a SCRAM-SHA-256 verifier (RFC 5803, RFC 7677)."""
    salted = hashlib.pbkdf2_hmac("sha256", password.reveal().encode(), salt, _ITERATIONS)
    client, server = (hmac.digest(salted, key, "sha256") for key in (b"Client Key", b"Server Key"))
    stored = hashlib.sha256(client).digest()
    return f"SCRAM-SHA-256${_ITERATIONS}:{_base64(salt)}${_base64(stored)}:{_base64(server)}"


def credential(
    key: DatabaseKey, *, role: str, password: Secret, lease: str, ends: str, ends_at: int
) -> dict[str, object]:
    """The login as every program reads one: by parts, as an address, as a line of a password file, as a service."""
    host = key.host.strip("[]")
    mode = "verify-full" if key.tls else "disable"
    word = password.reveal()
    settings = {"host": host, "port": key.port, "dbname": key.database, "user": role, "sslmode": mode}
    service = "\n".join(f"{name}={value}" for name, value in settings.items())
    escaped = host.replace("\\", "\\\\").replace(":", "\\:")
    return {
        "host": host,
        "port": key.port,
        "user": role,
        "password": word,
        "database": key.database,
        "sslmode": mode,
        "lease": lease,
        "expires": ends,
        "expires_at": ends_at,
        "url": f"postgresql://{role}:{word}@{key.place}/{quote(key.database)}?sslmode={mode}",
        "pgpass": f"{escaped}:{key.port}:{key.database}:{role}:{word}",
        "service": f"[valetkey]\n{service}\napplication_name=valetkey {lease}",
    }


def _base64(data: bytes) -> str:
    return b64encode(data).decode()
