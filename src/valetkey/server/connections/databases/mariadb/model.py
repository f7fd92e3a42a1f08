"""A connected MariaDB server and the accounts made there: addresses, names, rights and passwords. Pure.

MariaDB has no numbers of things: a table is what has its name now, as it is for every account of that server. What
becomes part of a statement is a name of our own alphabet, or one that was checked against the alphabet of grants.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from valetkey.server.connections.databases.address import read_address
from valetkey.server.connections.databases.model import DatabaseKey, prefix, quoted
from valetkey.server.errors import InvalidRequest
from valetkey.server.secret import Secret

SCHEME: Final = "mariadb"
SCHEMES: Final = frozenset({SCHEME, "mysql"})
"""Of addresses: programs write either."""
OLDEST: Final = (10, 6)
PORT: Final = 3306
OURS: Final = frozenset({"mysql", "information_schema", "performance_schema", "sys"})
_NAME: Final = re.compile(r"[A-Za-z0-9_$-]{1,64}")
_ORDER: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")
"""As the server writes rights when it is asked for them."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Right:
    """What a role may do with one table; with every table of a database where `table` is empty."""

    database: str
    table: str
    rights: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAccount:
    """An account that is to be made."""

    name: str
    word: str
    """What the server keeps of its password."""
    tls: bool


def parse_url(url: str) -> tuple[DatabaseKey, Secret]:
    """A URL with a login and its password, in parts. Raises `InvalidRequest` for anything ambiguous.

    >>> key, _ = parse_url("mariadb://owner:s3cret@db.acme.com")
    >>> key.address, key.login, key.tls
    ('mariadb://db.acme.com:3306', 'owner', True)
    """
    wrong = InvalidRequest(
        "This is not the address of a MariaDB server.",
        hint="Write it like mariadb://LOGIN:PASSWORD@HOST:PORT, without a database: each grant names its own.",
    )
    found = read_address(url, schemes=SCHEMES, port=PORT, wrong=wrong)
    if found.path not in ("", "/"):
        raise wrong
    key = DatabaseKey(host=found.host, port=found.port, database="", login=found.login, tls=found.tls, server=SCHEME)
    return key, found.password


def wanted(lines: Iterable[tuple[str, frozenset[str]]]) -> tuple[Right, ...]:
    """The rights of a lease, each thing once: by `database.table` or `database.*`, and what is to be done with it.

    >>> [(r.table, r.rights) for r in wanted([("sales.a", frozenset({"SELECT"})), ("sales.*", frozenset({"SELECT"}))])]
    [('', ('SELECT',)), ('a', ('SELECT',))]
    """
    found: dict[tuple[str, str], set[str]] = {}
    for name, rights in lines:
        database, table = names(name)
        found.setdefault((database, table), set()).update(rights)
    return tuple(
        Right(database=database, table=table, rights=tuple(one for one in _ORDER if one in held))
        for (database, table), held in sorted(found.items())
    )


def names(resource: str) -> tuple[str, str]:
    """`database.table` in two; the table is empty for `database.*`. Raises `ValueError` for anything else."""
    database, dot, table = resource.partition(".")
    table = "" if table == "*" else table
    if not dot or _NAME.fullmatch(database) is None or (table and _NAME.fullmatch(table) is None):
        raise ValueError("not a table that can be delegated")
    if not table and not resource.endswith(".*"):
        raise ValueError("not a table that can be delegated")
    return database, table


def role_of(deployment: str, rights: Sequence[Right], *, login: str) -> str:
    """The name of the role that has exactly these rights: equal rights, one role, whoever they are lent to.

    A role is given out by the login that made it, and by no other: so each connected login has its own.
    """
    said = "\n".join(f"{one.database}.{one.table or '*'} {','.join(one.rights)}" for one in sorted(rights))
    mark = hashlib.sha256(f"mariadb {login}\n{said}".encode()).hexdigest()[:24]
    return prefix(deployment).replace("vk_", "vg_", 1) + mark


def role_prefix(deployment: str) -> str:
    """What the names of such roles begin with."""
    return prefix(deployment).replace("vk_", "vg_", 1)


def named(role: str) -> str:
    """A role of ours as an identifier. Raises `ValueError` for a name that is none of ours."""
    return f"`{quoted(role)[1:-1]}`"


def account(name: str) -> str:
    """An account of ours, from wherever it signs in. Raises `ValueError` for a name that is none of ours.

    >>> account("vk_0123abcd_0123456789abcdef")
    '`vk_0123abcd_0123456789abcdef`@`%`'
    """
    return f"{named(name)}@`%`"


def is_ours(name: str) -> bool:
    """Whether a name is of our alphabet: what only begins as ours do was made by somebody else, and is let be."""
    try:
        quoted(name)
    except ValueError:
        return False
    return True


def place_of(right: Right) -> str:
    """What a right is on, as a grant writes it.

    >>> place_of(Right(database="my_shop", table="", rights=("SELECT",)))
    '`my\\\\_shop`.*'
    >>> place_of(Right(database="my_shop", table="a_b", rights=("SELECT",)))
    '`my_shop`.`a_b`'
    """
    if _NAME.fullmatch(right.database) is None or (right.table and _NAME.fullmatch(right.table) is None):
        raise ValueError("not a name that can be delegated")
    if right.table:
        return f"`{right.database}`.`{right.table}`"
    # SECURITY: in the grant for a whole database its name is a pattern, where `_` is any letter.
    # Guarded by tests/attacks/test_mariadb_evasions.py::test_a_database_of_a_similar_name_is_not_read
    return "`" + right.database.replace("_", r"\_") + "`.*"


def kept(password: Secret) -> str:
    """What the server keeps of a password (`mysql_native_password`), so that no log of statements has the password.

    >>> kept(Secret("password"))
    '*2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19'
    """
    once = hashlib.sha1(password.reveal().encode(), usedforsecurity=False).digest()
    return "*" + hashlib.sha1(once, usedforsecurity=False).hexdigest().upper()


def credential(
    key: DatabaseKey, *, database: str, name: str, password: Secret, lease: str, ends: str, ends_at: int
) -> dict[str, object]:
    """The login as programs read one: by parts, as an address, and as an option file of MariaDB's own programs."""
    host, word = key.host.strip("[]"), password.reveal()
    options = {"host": host, "port": key.port, "user": name, "password": word, "protocol": "tcp"}
    options |= {"database": database} if database else {}
    lines = [f"{option}={value}" for option, value in options.items()]
    lines += ["ssl", "ssl-verify-server-cert"] if key.tls else ["skip-ssl"]
    return {
        "host": host,
        "port": key.port,
        "user": name,
        "password": word,
        "database": database,
        "sslmode": "verify-full" if key.tls else "disable",
        "lease": lease,
        "expires": ends,
        "expires_at": ends_at,
        "url": f"mysql://{name}:{word}@{key.place}/{database}",
        "cnf": "[client]\n" + "\n".join(lines),
    }
