"""`valetkey keys list | rotate`: the keys that sign tokens, for administrators."""

from typing import Annotated, Literal

from cyclopts import Parameter

from valetkey.cli.options import Json, group
from valetkey.cli.output import facts, moment, show, table
from valetkey.cli.signed_in import signed_in

app = group("keys", "The keys that sign tokens.")


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
