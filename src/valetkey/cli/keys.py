"""`valetkey keys list | rotate | rotate-data | rotate-root`: the keys that sign, that seal, and the one above them."""

import json as json_text
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from valetkey.cli import exit_codes
from valetkey.cli.options import Json, group
from valetkey.cli.output import facts, inert, moment, notice, show, table
from valetkey.cli.signed_in import signed_in

if TYPE_CHECKING:
    from valetkey.client.sync import Client

app = group("keys", "The keys that sign tokens, the key that seals at rest, and the root key above it.")


@app.command(name="list")
def list_keys(*, json: Json = False) -> int:
    """List the signing keys.

    For example: valetkey keys list
    """
    with signed_in() as client:
        keys = client.keys.list()
    columns = list(keys[0]) if keys else ["kid"]
    text = "" if json else table(keys, columns, empty="There are no keys.")
    return show(keys, as_json=json, text=text)


@app.command
def rotate(
    *,
    algorithm: Annotated[Literal["ES256", "Ed25519", "RS256"], Parameter(help="Which kind to replace.")] = "ES256",
    json: Json = False,
) -> int:
    """Make a new signing key. It is published first and signs later; the old one verifies until its tokens are gone.

    For example: valetkey keys rotate --algorithm ES256
    """
    with signed_in() as client:
        key = client.keys.rotate(algorithm=algorithm)
    return show(key, as_json=json, text=facts({"kid": key["kid"], "signs from": moment(key.get("signs_from"))}))


@app.command(name="rotate-data")
def rotate_data(*, json: Json = False) -> int:
    """Make a new key for what is sealed at rest and seal everything anew, while the servers go on working.

    Stopped anywhere, it goes on where it was when it is run again. The old key is destroyed when nothing needs it.
    With --json, one line for each step.

    For example: valetkey keys rotate-data
    """
    with signed_in() as client:
        steps = _resealing(client)
        begun = next(steps)
        last = _as_lines(begun, steps) if json else _as_bar(begun, steps)
    if last["finished"]:
        notice(f"Everything is sealed under {inert(begun['key'])}.")
        return exit_codes.OK
    notice("Some records do not open; the key they name is kept. Restore or remove them, then run this again.")
    for name in last["unopened"]:
        notice(f"  {inert(name)}")
    return exit_codes.FAILURE


@app.command(name="rotate-root")
def rotate_root(
    *,
    to: Annotated[Path, Parameter(help="A settings file that says what holds the new root key: root, root_key, …")],
    json: Json = False,
) -> int:
    """Put another root key in the place of this machine's, or move it to a key service; nothing is sealed anew.

    The settings of this machine name the present one. On SQLite the server must not run; on PostgreSQL every server is
    started again with the new one afterwards. Stopped anywhere, run it again.

    For example: valetkey keys rotate-root --to new-root.toml
    """
    from valetkey.server import rotate_root as server
    from valetkey.server.settings import load_settings

    done = server.rotate_root(load_settings(), load_settings({}, to))
    kept = None if done.previous is None else str(done.previous)
    said = {"root": done.root, "file": str(done.file), "previous_file": kept, "rewrapped": done.rewrapped}
    notice("Start every server with the new settings, and the file of the new root key in its data folder.")
    if kept is not None:
        notice("Backups made until now need the old root key: keep its file apart, and remove it here.")
    return show(said, as_json=json, text=facts({name.replace("_", " "): value for name, value in said.items()}))


def _resealing(client: "Client") -> Iterator[dict[str, Any]]:
    """What was begun, then every step, until it is finished or a whole round found only records that do not open."""
    begun = client.keys.rotate_data()
    yield dict(begun)
    cursor, unopened, resealed = "", list[str](), 0
    while True:
        step = client.keys.reseal(cursor=cursor)
        cursor, resealed = step["cursor"], resealed + step["resealed"]
        unopened += step["unopened"]
        yield {**step, "unopened": unopened, "resealed_in_all": resealed}
        if step["finished"] or (not cursor and unopened):
            return


def _as_lines(begun: dict[str, Any], steps: Iterator[dict[str, Any]]) -> dict[str, Any]:
    print(json_text.dumps(begun), flush=True)
    last = begun
    for last in steps:
        print(json_text.dumps(last), flush=True)
    return last


def _as_bar(begun: dict[str, Any], steps: Iterator[dict[str, Any]]) -> dict[str, Any]:
    from rich.console import Console
    from rich.progress import Progress

    last = begun
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("sealing anew", total=begun["records"])
        for last in steps:
            progress.update(bar, completed=last["resealed_in_all"])
    return last
