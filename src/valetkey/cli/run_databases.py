"""Logins of databases for the command of `valetkey run`: taken when it starts, in its environment, gone when it ends.

What psql and its kind read: PGHOST and the rest for the only one or the first, a password file and a service file for
all of them, in a folder nobody else reads. What the programs of MariaDB read: an option file for each, and MYSQL_HOST
and the rest for the first. DATABASE_URL is the first login's, of whichever kind.
"""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from valetkey.client.sync import Client

KINDS: Final = frozenset({"postgres", "mariadb"})
_VARIABLES: Final = {
    "PGHOST": "host", "PGPORT": "port", "PGUSER": "user", "PGDATABASE": "database", "PGSSLMODE": "sslmode",
}  # fmt: skip


def parts(grants: Sequence[str]) -> dict[str, list[str]]:
    """The grants over databases, by the connection as it was written: one login each."""
    found: dict[str, list[str]] = {}
    for grant in grants:
        head = grant.partition(":")[0]
        if head.partition("/")[0] in KINDS:
            found.setdefault(head, []).append(grant)
    return found


def taken(agent: Client, task_token: str, gateway: str, grants: Sequence[str]) -> list[dict[str, Any]]:
    """A login for each database these grants are about."""
    logins = []
    for head, lines in parts(grants).items():
        kind = head.partition("/")[0]
        lent = agent.leases.create(task_token, target=f"{gateway}/p/{kind}", grants=lines)
        login: dict[str, Any] = json.loads(lent["credential"])
        logins.append({**login, "kind": kind, "name": head.partition("/")[2] or login["database"] or kind})
    return logins


@contextlib.contextmanager
def environment(logins: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, str]]:
    """What the command finds; the files are gone after."""
    if not logins:
        yield {}
        return
    folder = Path(tempfile.mkdtemp(prefix="valetkey-run-"))  # 0700
    try:
        found = _for_postgres(folder, [login for login in logins if login["kind"] == "postgres"])
        found |= _for_mariadb(folder, [login for login in logins if login["kind"] == "mariadb"])
        yield found | {"DATABASE_URL": str(logins[0]["url"])}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _for_postgres(folder: Path, logins: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    if not logins:
        return {}
    words, services = folder / "pgpass", folder / "pg_service.conf"
    _write(words, "".join(f"{login['pgpass']}\n" for login in logins))
    _write(services, "".join(_service(login) for login in logins))
    first = logins[0]
    found = {variable: str(first[name]) for variable, name in _VARIABLES.items()}
    return found | {"PGPASSFILE": str(words), "PGSERVICEFILE": str(services), "PGAPPNAME": f"valetkey {first['lease']}"}


def _for_mariadb(folder: Path, logins: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """MYSQL_HOME is where its programs look for `my.cnf`; a `~/.my.cnf` that says otherwise comes after it, so whoever
    wants to be sure says `--defaults-file=$MARIADB_CNF`."""
    if not logins:
        return {}
    for login in logins:
        _write(folder / f"{login['name']}.login.cnf", f"{login['cnf']}\n")
    first = logins[0]
    _write(folder / "my.cnf", f"{first['cnf']}\n")
    return {
        "MYSQL_HOST": str(first["host"]),
        "MYSQL_TCP_PORT": str(first["port"]),
        "MYSQL_PWD": str(first["password"]),
        "MYSQL_HOME": str(folder),
        "MARIADB_HOME": str(folder),
        "MARIADB_CNF": str(folder / "my.cnf"),
    }


def clean(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without what signs the person herself in at a database."""
    # SECURITY: libpq takes PGPASSWORD before a password file, and PGHOSTADDR before PGHOST; so with MYSQL_PWD.
    # Guarded by tests/flows/test_run_databases.py::test_what_signs_the_person_in_is_not_there
    ours = ("PG", "MYSQL_", "MARIADB_")
    return {name: value for name, value in environ.items() if not name.startswith(ours) and name != "DATABASE_URL"}


def _service(login: Mapping[str, Any]) -> str:
    return str(login["service"]).replace("[valetkey]", f"[{login['name']}]", 1) + "\n"


def _write(file: Path, text: str) -> None:
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as writing:
        writing.write(text)
