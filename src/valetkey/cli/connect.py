"""`valetkey connect`, `valetkey connections list | entitle`: accounts at other services."""

import sys
from typing import Annotated

from cyclopts import Parameter

from valetkey.cli.asked import secret
from valetkey.cli.options import Grants, Json, group
from valetkey.cli.output import facts, inert, show, table
from valetkey.cli.problems import Usage
from valetkey.cli.signed_in import signed_in

_LONGEST_KEY = 16 * 1024

app = group("connections", "The accounts that are connected.")


def connect(
    integration: str,
    /,
    *,
    token_stdin: Annotated[bool, Parameter(help="Read the account's token from standard input.")] = False,
    name: Annotated[str | None, Parameter(help="What to call it, where there are several.")] = None,
    shared: Annotated[bool, Parameter(help="The organization's account, not yours; for administrators.")] = False,
    app_id: Annotated[str | None, Parameter(help="Of an app that is installed there; for administrators.")] = None,
    installation_id: Annotated[str | None, Parameter(help="Which installation of the app.")] = None,
    key_stdin: Annotated[bool, Parameter(help="Read the app's private key (PEM) from standard input.")] = False,
    json: Json = False,
) -> int:
    """Connect an account by its own token, or an installed app by its key. It is sealed and never shown again.

    For example: valetkey connect github --token-stdin < token.txt, or
    valetkey connect github --app-id 4711 --installation-id 815 --key-stdin < app.pem
    """
    if app_id or installation_id:
        if not (app_id and installation_id and key_stdin):
            raise Usage("An app needs --app-id, --installation-id and --key-stdin.")
        token = sys.stdin.read(_LONGEST_KEY).strip() + "\n"
    else:
        token = secret(f"Token of the {integration} account", from_stdin=token_stdin, flag="--token-stdin")
    with signed_in() as client:
        connection = client.connections.create(
            integration,
            credential=token,
            name=name,
            shared=shared,
            app_id=app_id,
            installation_id=installation_id,
        )
    columns = ("id", "integration", "name", "account", "shared", "status")
    return show(connection, as_json=json, text=facts({name: connection.get(name) for name in columns}))


@app.command(name="list")
def list_connections(*, json: Json = False) -> int:
    """List the accounts you can use, and the organization's.

    For example: valetkey connections list
    """
    with signed_in() as client:
        connections = client.connections.list()
    columns = ["id", "integration", "name", "account", "shared", "status"]
    text = "" if json else table(connections, columns, empty="No account is connected: valetkey connect github")
    return show(connections, as_json=json, text=text)


@app.command
def entitle(
    connection: str,
    /,
    *,
    user: Annotated[str, Parameter(help="Their email.")],
    grant: Grants,
    json: Json = False,
) -> int:
    """Let a person delegate part of a shared account; without this, nobody can. For administrators.

    For example: valetkey connections entitle con_… --user alice@acme.com --grant github:repo:read@acme-corp/backend
    """
    with signed_in() as client:
        entitlement = client.connections.entitle(connection, user=user, grants=grant)
    text = f"{inert(entitlement['user'])} may delegate {', '.join(map(inert, entitlement['grants']))}."
    return show(entitlement, as_json=json, text=text)
