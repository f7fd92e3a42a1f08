"""`valetkey resource-server add | list | remove`: APIs of one's own, which verify the credentials themselves."""

from typing import Annotated

from cyclopts import Parameter

from valetkey.cli.options import Json, group
from valetkey.cli.output import facts, inert, show, table
from valetkey.cli.problems import Usage
from valetkey.cli.signed_in import signed_in

app = group("resource-server", "APIs of your own that verify delegated credentials themselves.")


@app.command
def add(
    name: str,
    audience: str,
    /,
    *,
    scope: Annotated[list[str], Parameter(help="NAME=SENTENCE, or write/NAME=SENTENCE; may be repeated.")],
    title: str = "",
    layout: str = "rfc8693",
    algorithm: str = "ES256",
    service_account: str | None = None,
    agent: str | None = None,
    json: Json = False,
) -> int:
    """Register an API of your own. Its name and audience are never given to another.

    For example: valetkey resource-server add billing https://billing.acme.com --scope "invoices:read=read invoices"
    """
    scopes = [_scope(text) for text in scope]
    with signed_in() as client:
        server = client.resource_servers.create(
            name,
            audience=audience,
            scopes=scopes,
            title=title,
            layout=layout,
            algorithm=algorithm,
            service_account=service_account,
            agent=agent,
        )
    shown = {name: server.get(name) for name in ("id", "name", "audience", "layout", "algorithm")}
    return show(server, as_json=json, text=facts(shown))


@app.command(name="list")
def list_servers(*, json: Json = False) -> int:
    """List the APIs of your organization's own.

    For example: valetkey resource-server list
    """
    with signed_in() as client:
        servers = client.resource_servers.list()
    columns = ["id", "name", "audience", "layout", "algorithm"]
    text = "" if json else table(servers, columns, empty="There are no resource servers.")
    return show(servers, as_json=json, text=text)


@app.command
def remove(server: str, /, *, json: Json = False) -> int:
    """Remove one: no credential is issued for it from now on.

    For example: valetkey resource-server remove billing
    """
    with signed_in() as client:
        removed = client.resource_servers.remove(server)
    return show(removed, as_json=json, text=f"{inert(removed['name'])} is removed.")


def _scope(text: str) -> dict[str, str]:
    """`NAME=SENTENCE`, or `TIER/NAME=SENTENCE` for one that writes or is dangerous."""
    head, equals, sentence = text.partition("=")
    tier, slash, name = head.rpartition("/")
    if not equals or (slash and tier not in ("read", "write", "danger")):
        raise Usage(
            f"{text[:80]!r} is not NAME=SENTENCE.", hint='For example --scope "write/invoices:pay=pay invoices"'
        )
    return {"name": name, "sentence": sentence, "tier": tier or "read"}
