"""`valetkey service-account create | list | rotate | suspend | resume`: programs that never act for a person."""

from typing import Annotated

from cyclopts import Parameter

from valetkey.cli.options import Json, group
from valetkey.cli.output import facts, inert, notice, show, table
from valetkey.cli.signed_in import signed_in

app = group("service-account", "Programs with management scopes; they never act for a person.")


@app.command
def create(
    name: str,
    /,
    *,
    scope: Annotated[list[str], Parameter(help="What it may do, e.g. agents:read; may be repeated.")],
    json: Json = False,
) -> int:
    """Create a service account. Its secret is shown only now.

    For example: valetkey service-account create siem --scope audit:read
    """
    with signed_in() as client:
        account = client.service_accounts.create(name, scopes=scope)
    notice(f"The secret is shown only now. Use it as VALETKEY_TOKEN={inert(account['name'])}:SECRET.")
    shown = {name: account.get(name) for name in ("id", "name", "scopes", "status", "secret")}
    return show(account, as_json=json, text=facts(shown))


@app.command(name="list")
def list_accounts(*, json: Json = False) -> int:
    """List the service accounts.

    For example: valetkey service-account list
    """
    with signed_in() as client:
        accounts = client.service_accounts.list()
    columns = ["id", "name", "scopes", "status"]
    text = "" if json else table(accounts, columns, empty="There are no service accounts.")
    return show(accounts, as_json=json, text=text)


@app.command
def rotate(account: str, /, *, json: Json = False) -> int:
    """Give a service account a new secret; the old one is refused from now on.

    For example: valetkey service-account rotate siem
    """
    with signed_in() as client:
        fresh = client.service_accounts.rotate(account)
    notice("The secret is shown only now.")
    return show(fresh, as_json=json, text=facts({"id": fresh["id"], "secret": fresh["secret"]}))


@app.command
def suspend(account: str, /, *, json: Json = False) -> int:
    """Stop a service account until it is resumed.

    For example: valetkey service-account suspend siem
    """
    with signed_in() as client:
        changed = client.service_accounts.set_status(account, "suspend")
    return show(changed, as_json=json, text=f"{inert(changed['name'])} is suspended.")


@app.command
def resume(account: str, /, *, json: Json = False) -> int:
    """Let a suspended service account go on.

    For example: valetkey service-account resume siem
    """
    with signed_in() as client:
        changed = client.service_accounts.set_status(account, "resume")
    return show(changed, as_json=json, text=f"{inert(changed['name'])} is active.")
