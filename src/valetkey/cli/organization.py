"""`valetkey organization show | ceiling`."""

from typing import Annotated

from cyclopts import Parameter

from valetkey.cli.options import Json, group
from valetkey.cli.output import facts, show
from valetkey.cli.problems import Usage
from valetkey.cli.signed_in import signed_in
from valetkey.client.answers import OrganizationLimits

app = group("organization", "What holds for everybody in the organization.")


@app.command(name="show")
def show_organization(*, json: Json = False) -> int:
    """Show the organization and its ceilings.

    For example: valetkey organization show
    """
    with signed_in() as client:
        organization = client.organization.get()
    return show(organization, as_json=json, text=_worded(organization))


@app.command
def ceiling(
    *,
    unknown_clients: Annotated[
        list[str] | None, Parameter(help="A grant that clients nobody registered may never exceed; may be repeated.")
    ] = None,
    none: Annotated[bool, Parameter(help="Let clients nobody registered do nothing.")] = False,
    json: Json = False,
) -> int:
    """Set the most a client nobody registered can be given, as an administrator. Agents that exist keep theirs.

    For example: valetkey organization ceiling --unknown-clients github:repo:read@acme-corp/backend
    """
    if bool(unknown_clients) is none:
        raise Usage(
            "Say either what unknown clients may have at most, or none.", hint="--unknown-clients GRANT, or --none"
        )
    with signed_in() as client:
        organization = client.organization.set_unknown_client_ceiling(unknown_clients or [])
    return show(organization, as_json=json, text=_worded(organization))


def _worded(organization: OrganizationLimits) -> str:
    return facts(
        {
            "id": organization["id"],
            "name": organization["name"],
            "agents": organization["default_ceiling"],
            "unknown clients": organization["unknown_client_ceiling"] or "nothing",
        }
    )
