"""Roles of PostgreSQL: addresses, names and passwords. Pure.

What people chose (an e-mail address, the name of an agent) becomes part of a statement only as digits that the server
reads back. The password of a role is sent as what the server keeps of it (RFC 5803), so that a log of statements holds
nothing to sign in with.
"""

import hashlib
import hmac
from base64 import b64encode
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote

from valetkey.server.connections.databases.address import NAME, read_address
from valetkey.server.connections.databases.model import DatabaseKey, prefix
from valetkey.server.errors import InvalidRequest
from valetkey.server.secret import Secret

SCHEMA: Final = "valetkey"
IDLE_SECONDS: Final = 300
OLDEST: Final = 140_000
_ITERATIONS: Final = 4_096


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
