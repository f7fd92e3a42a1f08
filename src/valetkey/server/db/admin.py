"""The database as an operator handles it: migrate, check, back up, put a backup in its place.

Works without a server; backing up and checking work beside a running one. What a restored database may still be
trusted with is `server.restore`'s business: it calls `replace`, then `void`. Synchronous, for the command line.
"""

import asyncio
import hashlib
import os
import shutil
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from valetkey.server.db import migrate as migrations
from valetkey.server.db.engine import Database, open_database, open_postgresql
from valetkey.server.db.schema import (
    agent_secrets,
    audit_records,
    audit_writers,
    cli_logins,
    delegations,
    evidence,
    initial_access_tokens,
    invitations,
    outside_clients,
    recovery_codes,
    revoked,
    service_account_secrets,
    sessions,
    sign_in_steps,
    signing_keys,
    user_credentials,
)
from valetkey.server.errors import Conflict, NotFound
from valetkey.server.settings import Settings

_UNSAFE = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}


def migrate(settings: Settings) -> str:
    """Bring the schema to this version; return its revision. Raises `Conflict` for a newer one or a running server."""

    async def run() -> str:
        settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        database = open_database(settings.database_url, settings.data)
        try:
            return await migrations.migrate(database)
        finally:
            await database.close()

    return asyncio.run(run())


def check(settings: Settings) -> list[str]:
    """What is wrong, in sentences; empty when nothing is. Reads only, so a server may run."""
    file = sqlite_file(settings)
    if file is not None and not file.exists():
        return [f"There is no database at {file}; `valetkey db migrate` or `valetkey serve` creates it."]
    return [*(_file_problems(file) if file is not None else []), *asyncio.run(_problems(settings))]


def backup(settings: Settings, path: Path) -> None:
    """Write a consistent copy to `path`, which must not exist: 0600, on disk when this returns.

    The root key is not in it. Raises `Conflict` when `path` exists or the PostgreSQL client programs are missing.
    """
    if path.exists():
        raise Conflict(f"{path} exists.", hint="Name a file that does not exist yet.")
    part = path.with_name(path.name + ".part")
    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        file = sqlite_file(settings)
        if file is None:
            _postgresql(settings, "pg_dump", "--format=custom", "--no-owner", f"--file={part}")
        else:
            _copy(file, part)
        _sync(part)
        os.link(part, path)  # fails where rename would replace what somebody put there meanwhile
    finally:
        part.unlink(missing_ok=True)
    _sync(path.parent)


def replace(settings: Settings, path: Path) -> None:
    """Put the backup in the place of the database; what was there is kept beside it (SQLite) or dropped (PostgreSQL).

    Raises `Conflict` when a server uses the database or the backup is of a newer version, `NotFound` without a backup.
    """
    if not path.is_file():
        raise NotFound(f"There is no backup at {path}.")
    file = sqlite_file(settings)
    if file is None:
        asyncio.run(_refuse_live(settings))
        options = ("--clean", "--if-exists", "--no-owner", "--single-transaction", "--exit-on-error")
        _postgresql(settings, "pg_restore", *options, last=str(path))
        return
    settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    held = open_database(settings.database_url, settings.data)  # takes the lock, or refuses
    try:
        part = file.with_name(file.name + ".part")
        part.unlink(missing_ok=True)
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        _copy(path, part)
        _sync(part)
        kept = file.with_name(f"{file.name}.before-{time.time_ns()}")
        for suffix in ("", "-wal", "-shm"):
            old = file.with_name(file.name + suffix)
            if old.exists():
                old.rename(kept.with_name(kept.name + suffix))
        part.rename(file)
        _sync(file.parent)
    finally:
        asyncio.run(held.close())


async def void(tx: AsyncConnection, *, seq: int, now: int) -> list[tuple[str, str]]:
    """Void whatever was issued up to now; return the revoked nodes with their organizations.

    A restored database may be older than revocations, rotations and suspensions. So: live delegations (and with them
    their tasks) and people's credentials are revoked, browsers signed out, codes and evidence spent, secrets of agents,
    service accounts and clients dropped with the tokens that register them, and the keys that signed tokens withdrawn.
    """
    known = select(revoked.c.node)
    rows: list[Any] = []
    for table in (delegations, user_credentials):
        rows += (await tx.execute(select(table.c.id, table.c.org).where(table.c.id.not_in(known)))).all()
    if rows:
        marks = [
            {"node": r.id, "seq": seq, "at": now, "by": "restore", "reason": "a backup was restored"} for r in rows
        ]
        await tx.execute(insert(revoked), marks)
    await tx.execute(update(evidence).where(evidence.c.used_at.is_(None)).values(used_at=now))
    await tx.execute(update(invitations).where(invitations.c.used_at.is_(None)).values(used_at=now))
    for table in (
        sessions,
        sign_in_steps,
        recovery_codes,
        cli_logins,
    ):  # what was used or ended since must not come back
        await tx.execute(delete(table))
    await tx.execute(delete(agent_secrets))
    await tx.execute(delete(service_account_secrets))
    await tx.execute(delete(initial_access_tokens))
    await tx.execute(update(outside_clients).values(secret_mac=None, management_mac=None))
    await tx.execute(update(signing_keys).where(signing_keys.c.purpose == "tokens").values(retired_at=1))
    return [(row.id, row.org) for row in rows]


def sqlite_file(settings: Settings) -> Path | None:
    """The database file, or None on PostgreSQL."""
    if settings.database_url is None:
        return settings.data / "valetkey.db"
    url = settings.database_url.reveal()
    return Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite:///") else None


def _copy(source: Path, target: Path) -> None:
    """SQLite's online backup in one step: a consistent snapshot, beside a writer that goes on."""
    try:
        with (
            closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as old,
            closing(sqlite3.connect(target)) as new,
        ):
            old.backup(new)
            new.execute("PRAGMA journal_mode=DELETE")
            revision = new.execute("SELECT version_num FROM alembic_version").fetchone()
            new.execute("SELECT id FROM deployment").fetchone()
            found = new.execute("PRAGMA integrity_check").fetchone()[0]
    except sqlite3.DatabaseError as error:
        raise Conflict(f"{source} is not a Valetkey database.", detail=str(error)) from error
    if found != "ok" or revision is None:
        raise Conflict(f"{source} is damaged.", detail=str(found))
    migrations.refuse_unknown(revision[0])


def _file_problems(file: Path) -> list[str]:
    problems = []
    for path, most in ((file.parent, 0o700), (file, 0o600)):
        if path.stat().st_mode & 0o777 & ~most:
            problems.append(f"{path} can be read by others; chmod {most:o} it.")
    return problems


async def _problems(settings: Settings) -> list[str]:
    database = reader(settings)
    try:
        problems = await migrations.pending(database)
        if problems:
            return problems
        async with database.read() as db:
            if db.dialect.name == "sqlite":
                found = [row[0] for row in await db.execute(text("PRAGMA integrity_check"))]
                problems += [] if found == ["ok"] else [f"SQLite says: {line}" for line in found]
            else:
                for name, unsafe in _UNSAFE.items():
                    if (await db.execute(text(f"SHOW {name}"))).scalar_one() == unsafe:
                        problems.append(f"PostgreSQL runs with {name}={unsafe}: what was acknowledged can be lost.")
            return problems + await _chain_problems(db)
    finally:
        await database.close()


async def _chain_problems(db: AsyncConnection) -> list[str]:
    """Whether each writer's last two records hold together. `valetkey audit verify` proves all of them."""
    problems = []
    for writer in (await db.execute(select(audit_writers.c.writer).order_by(audit_writers.c.writer))).scalars():
        last = (
            select(audit_records).where(audit_records.c.writer == writer).order_by(audit_records.c.seq.desc()).limit(2)
        )
        rows: list[Any] = list(await db.execute(last))
        if any(hashlib.sha256(row.body).digest() != row.digest for row in rows):
            problems.append(f"The newest audit records of {writer} are not what was written.")
        elif len(rows) == 2 and msgspec.json.decode(rows[0].body).get("prev") != rows[1].digest.hex():
            problems.append(f"The newest audit record of {writer} does not follow the one before it.")
    return problems


def reader(settings: Settings) -> Database:
    """The database to look at only, beside a server that may run."""
    file = sqlite_file(settings)
    if file is None:
        assert settings.database_url is not None
        return open_postgresql(settings.database_url, connections=1)
    engine = create_async_engine(f"sqlite+aiosqlite:///file:{file}?mode=ro&uri=true")
    return Database(engine, engine)


async def _refuse_live(settings: Settings) -> None:
    database = reader(settings)
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    try:
        async with database.read() as db:
            if (await db.execute(text(others))).scalar_one():
                raise Conflict("Somebody uses this database.", hint="Stop every server on it first.")
    finally:
        await database.close()


def _postgresql(settings: Settings, program: str, *options: str, last: str | None = None) -> None:
    """Run a client program. SECURITY: the password goes by the environment; arguments are for everybody to read."""
    assert settings.database_url is not None
    url = make_url(settings.database_url.reveal())
    found = shutil.which(program) or _newest(program)
    if found is None:
        raise Conflict(f"{program} is not on this machine.", hint="Install PostgreSQL's client programs.")
    address = url._replace(drivername="postgresql", password=None).render_as_string(hide_password=False)
    password = {"PGPASSWORD": str(url.password)} if url.password is not None else {}
    command = [found, *options, "--no-password", f"--dbname={address}", *([last] if last is not None else [])]
    done = subprocess.run(command, env={**os.environ, **password}, capture_output=True, text=True)  # noqa: S603
    if done.returncode:
        raise Conflict(
            f"{program} failed.", detail=done.stderr[-2000:], hint=done.stderr.strip().splitlines()[-1][:200]
        )


def _newest(program: str) -> str | None:
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"), key=lambda path: int(path.parts[4]))
    return str(found[-1]) if found else None


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
