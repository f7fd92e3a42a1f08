"""`valetkey connect`, `valetkey connections list | why | entitle`: accounts at other services."""

import sys
import time
from collections.abc import Sequence
from typing import Annotated, Literal

from cyclopts import Parameter

from valetkey.cli.asked import secret
from valetkey.cli.options import Grants, Json, group
from valetkey.cli.output import facts, inert, notice, show, table
from valetkey.cli.problems import Cancelled, Usage
from valetkey.cli.signed_in import signed_in
from valetkey.client import answers
from valetkey.client.errors import Denied, TooMany, Unavailable, Unreachable
from valetkey.client.sync import Client

_LONGEST_KEY = 16 * 1024
_SPARE_SECONDS = 10  # the server says that it expired, if it can
_AWS_AUDIENCE = "sts.amazonaws.com"
_BEGIN_AGAIN = "Begin again: valetkey connect NAME"

app = group("connections", "The accounts that are connected.")


def connect(
    integration: str,
    /,
    *,
    scope: Annotated[tuple[str, ...], Parameter(help="Ask for what this scope of ours needs, and no more.")] = (),
    again: Annotated[str | None, Parameter(help="The connection to be connected again.")] = None,
    token_stdin: Annotated[bool, Parameter(help="Read the account's token from standard input.")] = False,
    name: Annotated[str | None, Parameter(help="What to call it, where there are several.")] = None,
    shared: Annotated[bool, Parameter(help="The organization's account, not yours; for administrators.")] = False,
    app_id: Annotated[str | None, Parameter(help="Of an app that is installed there; for administrators.")] = None,
    installation_id: Annotated[str | None, Parameter(help="Which installation of the app.")] = None,
    role_arn: Annotated[str | None, Parameter(help="A role at AWS to take on; for administrators.")] = None,
    access_key_id: Annotated[str | None, Parameter(help="Of the access key that may take it on.")] = None,
    web_identity: Annotated[
        bool, Parameter(help="The role trusts tokens of this server: no key is kept. docs/aws.md.")
    ] = False,
    audience: Annotated[str | None, Parameter(help="For whom these tokens are; sts.amazonaws.com otherwise.")] = None,
    url_stdin: Annotated[
        bool, Parameter(help="Read a database's address from standard input, login and password included.")
    ] = False,
    everybody: Annotated[
        Literal["refuse", "revoke", "keep"] | None,
        Parameter(help="What becomes of rights everybody has in the database; refuse lists them and stops."),
    ] = None,
    key_stdin: Annotated[
        bool, Parameter(help="Read the app's private key (PEM), or the access key's secret, from standard input.")
    ] = False,
    json: Json = False,
) -> int:
    """Connect an account: by consent at the API, by its own token, or an installed app or a role by its key.

    For example: valetkey connect slack, or valetkey connect github --token-stdin < token.txt, or
    valetkey connect github --app-id 4711 --installation-id 815 --key-stdin < app.pem, or
    valetkey connect aws --role-arn arn:aws:iam::111122223333:role/agents --access-key-id AKIA… --key-stdin < secret.txt
    or valetkey connect aws --role-arn arn:aws:iam::111122223333:role/agents --web-identity
    or valetkey connect postgres --name analytics --url-stdin < url.txt, and so with mariadb
    """
    if not (url_stdin or token_stdin or app_id or installation_id or role_arn or access_key_id or web_identity):
        with signed_in() as client:
            if integration in {found["integration"] for found in client.apps.list()}:
                return _by_consent(client, integration, scopes=scope, again=again, shared=shared, as_json=json)
    if scope or again:
        raise Usage("--scope and --again are for connecting by consent, and no app is registered there.")
    if url_stdin:
        token = secret(f"Address of the {integration} database", from_stdin=True, flag="--url-stdin")
    elif web_identity or audience:
        if not role_arn or not web_identity or access_key_id or key_stdin or token_stdin or app_id or installation_id:
            raise Usage("--web-identity goes with --role-arn, and --audience if need be; there is no key.")
        token, audience = "", audience or _AWS_AUDIENCE
    elif role_arn or access_key_id:
        if not (role_arn and access_key_id and key_stdin):
            raise Usage("A role needs --role-arn, --access-key-id and --key-stdin.")
        token = sys.stdin.read(_LONGEST_KEY).strip()
    elif app_id or installation_id:
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
            role_arn=role_arn,
            access_key_id=access_key_id,
            audience=audience,
            everybody=everybody,
        )
    columns = ("id", "integration", "name", "account", "shared", "status")
    return show(connection, as_json=json, text=facts({name: connection.get(name) for name in columns}))


def _by_consent(
    client: Client, integration: str, *, scopes: Sequence[str], again: str | None, shared: bool, as_json: bool
) -> int:
    """Wait until she has been there: she goes by a page of ours, signed in there as herself."""
    # SECURITY: the address carries nothing of this program but a code that is good once, for her alone.
    # Guarded by tests/flows/test_connecting_by_code.py::test_oa_10_whoever_else_opens_it_ends_it
    begun = client.connections.begin(integration, scopes=scopes, connection=again, shared=shared)
    notice("Open this page on any device, sign in as yourself, compare the code, and agree at the API:")
    print(f"{begun['page_with_code']}\ncode: {begun['code']}\n", file=sys.stderr, flush=True)
    ends_at = time.monotonic() + begun["expires_in"] + _SPARE_SECONDS
    while time.monotonic() < ends_at:
        time.sleep(max(1, begun["interval"]))
        try:
            told = client.connections.begun(begun["id"])
        except (TooMany, Unavailable, Unreachable):
            continue  # the page may be finished meanwhile; the next round asks again
        if told["status"] != "pending":
            return _told(client, told, as_json=as_json)
    raise Cancelled("Nobody finished it within ten minutes.", hint=_BEGIN_AGAIN)


def _told(client: Client, told: answers.ConnectCode, *, as_json: bool) -> int:
    found = told["connection"]
    if found is not None:
        columns = ("id", "integration", "name", "account", "shared", "status")
        if found["generation"] > 1:
            _say_what_changed(client, found["id"])
        return show(found, as_json=as_json, text=facts({name: found.get(name) for name in columns}))
    sentence = f"Nothing was connected. {told['detail']}".strip()
    if told["status"] == "refused":
        raise Denied(sentence, hint=_BEGIN_AGAIN, members={"reason": told["reason"]})
    raise Cancelled(sentence, hint=_BEGIN_AGAIN)


def _say_what_changed(client: Client, connection: str) -> None:
    """The same account again: no new connection, and what it may do is what was agreed to last."""
    gave = ", ".join(inert(p["name"]) for p in client.connections.why(connection)["granted"])
    notice(f"This account was connected before, and stays the same connection. The API now gives {gave or 'nothing'}.")


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
def why(connection: str, /, *, json: Json = False) -> int:
    """Say what the stored credential could do if it leaked, against what was asked for, and who stands in between.

    For example: valetkey connections why con_…
    """
    with signed_in() as client:
        report = client.connections.why(connection)
    asked = ", ".join(p["name"] for p in report["asked"]) or "nothing by name"
    gave = ", ".join(p["name"] for p in report["granted"]) or "it does not say"
    lines = {
        "account": f"{report['integration']}: {report['account']}",
        "asked for": asked,
        "the API gave": gave,
        "if it leaked": report["could_do"],
        "for how long": report["for_how_long"],
        "held back by": f"the {'API itself' if report['held_back_by'] == 'api' else 'gateway'}. {report['why']}",
    }
    return show(report, as_json=json, text=facts(lines))


@app.command
def rotate(connection: str, /, *, json: Json = False) -> int:
    """Change the password of a database's connected login, which nobody then knows. For administrators.

    For example: valetkey connections rotate con_…
    """
    with signed_in() as client:
        changed = client.connections.rotate(connection)
    return show(changed, as_json=json, text=f"{inert(changed['account'])} has another password.")


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
