"""`valetkey client-registration token`: what a client registers itself with."""

from typing import Annotated

from cyclopts import Parameter

from valetkey.cli.options import Json, Ttl, group
from valetkey.cli.output import facts, notice, show
from valetkey.cli.signed_in import signed_in

app = group("client-registration", "Let clients register themselves.")


@app.command
def token(
    *,
    uses: Annotated[int, Parameter(help="How many clients may register with it.")] = 1,
    ttl: Ttl = 3_600,
    json: Json = False,
) -> int:
    """Make an initial access token, as an administrator. It is shown only now.

    For example: valetkey client-registration token --uses 5 --ttl 1d
    """
    with signed_in() as client:
        made = client.initial_access_tokens.create(uses=uses, seconds=ttl)
    notice("The token is shown only now. Clients send it as a bearer token to /oauth/register.")
    shown = {"token": made["initial_access_token"], "uses": made["uses"]}
    return show(made, as_json=json, text=facts(shown))
