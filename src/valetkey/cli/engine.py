"""`valetkey engine create | list`: proxies such as nginx or Envoy that carry the bytes and ask for decisions."""

from typing import Annotated

from cyclopts import Parameter

from valetkey.cli.options import Json, group
from valetkey.cli.output import facts, notice, show, table
from valetkey.cli.signed_in import signed_in

app = group("engine", "Proxies of your own that ask for decisions.")


@app.command
def create(
    name: str,
    /,
    *,
    integration: Annotated[str, Parameter(name="--for", help="The one API it may ask about: github, slack, ...")],
    address: Annotated[str, Parameter(help="Where agents reach the API through it: https://github.acme.com")],
    json: Json = False,
) -> int:
    """Let a proxy ask the decision door about one API. Its secret goes into its configuration; shown only now.

    For example: valetkey engine create edge --for github --address https://github.acme.com
    """
    with signed_in() as client:
        engine = client.engines.create(name, integration=integration, address=address)
    notice("The secret is shown only now. Ready configurations: docs/engines.md. To end it: valetkey revoke eng_...")
    columns = ("id", "name", "integration", "address", "secret")
    return show(engine, as_json=json, text=facts({name: engine.get(name) for name in columns}))


@app.command(name="list")
def list_engines(*, json: Json = False) -> int:
    """List the proxies that may ask for decisions.

    For example: valetkey engine list
    """
    with signed_in() as client:
        engines = client.engines.list()
    text = "" if json else table(engines, ["id", "name", "integration", "address", "status"], empty="There are none.")
    return show(engines, as_json=json, text=text)
