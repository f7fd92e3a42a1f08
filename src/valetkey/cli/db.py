"""`valetkey db migrate | check | backup | restore`: the database of this machine's server, without going through it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from valetkey.cli import exit_codes
from valetkey.cli.options import Json, group
from valetkey.cli.output import inert, notice, show
from valetkey.cli.problems import Usage

if TYPE_CHECKING:
    from valetkey.server.settings import Settings

app = group("db", "The database of this machine's server; settings as for serve.")


@app.command
def migrate(*, json: Json = False) -> int:
    """Bring the database to this version's schema. `serve` does it by itself at its start.

    For example: valetkey db migrate
    """
    from valetkey.server.db import admin

    revision = admin.migrate(settings())
    return show({"revision": revision}, as_json=json, text=f"The schema is at {inert(revision)}.")


@app.command
def check(*, json: Json = False) -> int:
    """Open the database, hold its tables against the audit trail, and say what is wrong. Exit code 1 when anything is.

    For example: valetkey db check
    """
    from valetkey.server.held_to_trail import turned_back

    chosen = settings()
    problems = findings(chosen) or turned_back(chosen)
    text = "\n".join(inert(problem) for problem in problems) or "Nothing is wrong."
    show({"ok": not problems, "problems": problems}, as_json=json, text=text)
    return exit_codes.FAILURE if problems else exit_codes.OK


@app.command
def backup(file: Path, /, *, json: Json = False) -> int:
    """Write a consistent copy of the database to a new file. The root key is not in it: keep that elsewhere.

    For example: valetkey db backup valetkey-2026-01-15.db
    """
    from valetkey.server.db import admin

    if file.exists():
        raise Usage(f"{file} exists.", hint="Name a file that does not exist yet.")
    admin.backup(settings(), file)
    notice("The root key is not in the backup. Without it, nothing in it can be opened.")
    return show({"file": str(file)}, as_json=json, text=f"The backup is in {inert(file)}.")


@app.command
def restore(
    file: Path,
    /,
    *,
    yes: Annotated[bool, Parameter(help="Replace the database that is there.")] = False,
    json: Json = False,
) -> int:
    """Put a backup in the place of the database, and void everything issued up to now. The server must not run.

    For example: valetkey db restore valetkey-2026-01-15.db --yes
    """
    from valetkey.server import restore as server

    if not yes:
        raise Usage("Restoring replaces the database that is there.", hint="Add --yes when that is what you want.")
    if not file.is_file():
        raise Usage(f"{file} is not a file.")
    done = server.restore(settings(), file)
    notice("Delegations, tokens, secrets of agents and service accounts, and everybody's logins are void.")
    notice("Review suspended users, ceilings, entitlements and connections: they are as old as the backup.")
    facts: dict[str, object] = {"file": str(file), "voided": done.voided}
    text = f"The database is as it was in {inert(file)}."
    if done.code is not None:
        facts |= {"administrator": done.administrator, "code": done.code.reveal()}
        text += f"\none-time code for {inert(done.administrator)}: {done.code.reveal()}"
    return show(facts, as_json=json, text=text)


def settings() -> "Settings":
    """The settings the server of this machine would start with."""
    from valetkey.server.settings import load_settings

    return load_settings()


def findings(of: "Settings") -> list[str]:
    """What is wrong with the database and the root key; empty when nothing is."""
    from valetkey.server.db import admin

    return admin.check(of)
