"""`valetkey sso add | list | show | remove`: the company's own sign-in, for administrators."""

from collections.abc import Sequence
from typing import Annotated

from cyclopts import Parameter

from valetkey.cli import exit_codes
from valetkey.cli.asked import secret
from valetkey.cli.options import Json, group
from valetkey.cli.output import facts, inert, notice, show, table
from valetkey.cli.problems import Usage
from valetkey.cli.signed_in import signed_in
from valetkey.client.answers import IdentityProvider
from valetkey.client.errors import NotFound
from valetkey.client.sync import Client

app = group("sso", "The company's own sign-in: its OpenID Connect providers.")


@app.command
def add(
    issuer: str,
    /,
    *,
    client_id: Annotated[str, Parameter(help="What the provider calls this server.")],
    client_secret_stdin: Annotated[
        bool, Parameter(help="Read the client secret from standard input; a public client without.")
    ] = False,
    name: Annotated[str, Parameter(help="What the button on the sign-in page says.")] = "SSO",
    enroll: Annotated[
        list[str] | None,
        Parameter(help="A domain whose people may come in by themselves, like acme.com; may be repeated."),
    ] = None,
    group_claim: Annotated[str, Parameter(help="The claim that names a person's groups.")] = "",
    role: Annotated[list[str] | None, Parameter(help="GROUP=administrator or GROUP=member; may be repeated.")] = None,
    json: Json = False,
) -> int:
    """Register a provider, as an administrator. It is asked who it is; then enter the redirect URI there, exactly.

    For example: valetkey sso add https://login.acme.com --client-id valetkey --client-secret-stdin --enroll acme.com
    """
    roles = _roles(role or ())
    if bool(roles) != bool(group_claim):
        raise Usage("--group-claim and --role go together.", hint="--group-claim groups --role admins=administrator")
    key = secret("Client secret", from_stdin=True, flag="--client-secret-stdin") if client_secret_stdin else None
    with signed_in() as client:
        added = client.identity_providers.create(
            name,
            issuer=issuer,
            client_id=client_id,
            client_secret=key,
            group_claim=group_claim,
            roles=roles,
            enrolls=bool(enroll),
            domains=enroll or (),
        )
    if key is None:
        notice("No client secret was given: the provider must take this server as a public client.")
    notice("Enter the redirect URI at the provider, character by character.")
    return show(added, as_json=json, text=facts(_shown(added)))


@app.command(name="list")
def list_providers(*, json: Json = False) -> int:
    """List the providers people sign in by.

    For example: valetkey sso list
    """
    with signed_in() as client:
        found = client.identity_providers.list()
    columns = ["id", "name", "issuer", "client_id"]
    text = "" if json else table(found, columns, empty="There is no identity provider.")
    return show(found, as_json=json, text=text)


@app.command(name="show")
def show_one(provider: str, /, *, json: Json = False) -> int:
    """Show a provider, by its id or issuer, and ask it whether people can sign in by it now: exit code 1 if not.

    For example: valetkey sso show https://login.acme.com
    """
    with signed_in() as client:
        found = _found(client, provider)
        checked = client.identity_providers.check(found["id"])
    state = "answers as it should" if checked["works"] else checked["problem"]
    show(found | {"works": checked["works"], "problem": checked["problem"]}, as_json=json,
         text=facts(_shown(found) | {"now": state}))  # fmt: skip
    return exit_codes.OK if checked["works"] else exit_codes.FAILURE


@app.command
def remove(provider: str, /, *, json: Json = False) -> int:
    """Nobody signs in by it any more, by its id or issuer. Who is signed in stays so until that ends.

    For example: valetkey sso remove idp_01…
    """
    with signed_in() as client:
        found = _found(client, provider)
        removed = client.identity_providers.remove(found["id"])
    return show(removed, as_json=json, text=f"Nobody signs in by {inert(found['issuer'])} any more.")


def _found(client: Client, named: str) -> IdentityProvider:
    """The one of this id or issuer; an organization has one of an issuer."""
    for provider in client.identity_providers.list():
        if named in (provider["id"], provider["issuer"]):
            return provider
    raise NotFound("There is no such identity provider, or it is not yours.", hint="valetkey sso list")


def _shown(provider: IdentityProvider) -> dict[str, object]:
    groups = [f"{group}={role}" for group, role in provider["roles"].items()]
    return {
        "id": provider["id"],
        "name": provider["name"],
        "issuer": provider["issuer"],
        "client id": provider["client_id"],
        "redirect uri": provider["redirect_uri"],
        "enrolls": provider["domains"] if provider["enrolls"] else None,
        "group claim": provider["group_claim"],
        "roles": groups,
    }


def _roles(texts: Sequence[str]) -> dict[str, str]:
    """`GROUP=ROLE`; a group may hold an equals sign itself, as in a directory's own names."""
    pairs = [text.rpartition("=") for text in texts]
    if any(not group or role not in ("administrator", "member") for group, _, role in pairs):
        raise Usage("A role is written GROUP=administrator or GROUP=member.")
    if len({group for group, _, _ in pairs}) != len(pairs):
        raise Usage("A group has one role.")
    return {group: role for group, _, role in pairs}
