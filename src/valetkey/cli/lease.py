"""`valetkey leases list | open`: real credentials that an API narrows itself, out for the length of a task."""

import json as json_text
import shlex
from typing import Annotated, Literal

from cyclopts import Parameter

from valetkey.cli.options import Json, OptionalGrants, group
from valetkey.cli.output import facts, moment, notice, show, table
from valetkey.cli.problems import Usage
from valetkey.cli.signed_in import as_agent, signed_in
from valetkey.cli.token import given_task_token, holder, target_address

Format = Literal["text", "env", "credential-process"]
_VARIABLES = {
    "AccessKeyId": "AWS_ACCESS_KEY_ID",
    "SecretAccessKey": "AWS_SECRET_ACCESS_KEY",
    "SessionToken": "AWS_SESSION_TOKEN",
}

app = group("leases", "Credentials of other services that are out.")


@app.command(name="list")
def list_leases(*, json: Json = False) -> int:
    """List the credentials that are out, and were: for whom, how narrow, until when.

    For example: valetkey leases list
    """
    with signed_in() as client:
        leases = client.leases.list()
    rows = [{**lease, "until": moment(lease["ends_at"]), "may": ", ".join(lease["grants"])} for lease in leases]
    columns = ["id", "status", "agent", "may", "until", "problem"]
    return show(leases, as_json=json, text="" if json else table(rows, columns, empty="No credential is out."))


@app.command(name="open")
def open_lease(
    *,
    target: Annotated[str, Parameter(name="--for", help="The API: github, https://api.github.com, ...")],
    task_token_stdin: Annotated[bool, Parameter(help="Read the task token from standard input.")] = False,
    scope: Annotated[list[str] | None, Parameter(help="Only this scope; may be repeated.")] = None,
    grant: OptionalGrants = None,
    agent: Annotated[str | None, Parameter(help="The agent; the one the task belongs to otherwise.")] = None,
    credential_only: Annotated[bool, Parameter(help="Print the credential and nothing else.")] = False,
    form: Annotated[
        Format, Parameter(name="--format", help="Of a session at AWS: as its own programs read it.")
    ] = "text",
    json: Json = False,
) -> int:
    """As an agent: get a real credential, as narrow as the task. It is taken back when the task ends.

    Where an API cannot narrow its credentials, or calls are counted, the gateway is the only way.

    For example: valetkey leases open --for github --task-token-stdin --credential-only < task.txt, or
    valetkey leases open --for aws --task-token-stdin --format credential-process < task.txt
    """
    task_token = given_task_token(None, from_stdin=task_token_stdin)
    with as_agent(agent or holder(task_token)) as client:
        lent = client.leases.create(
            task_token,
            target=target_address(target, client),
            scope=" ".join(scope) if scope else None,
            grants=grant or (),
        )
    if form != "text":
        return show(lent, as_json=json, text=_session(lent["credential"], form))
    if credential_only:
        return show(lent, as_json=json, text=lent["credential"])
    notice("The credential is shown only now; it ends with the task.")
    text = facts(
        {
            "id": lent["id"],
            "may": ", ".join(lent["grants"]),
            "until": moment(lent["ends_at"]),
            "credential": lent["credential"],
        }
    )
    return show(lent, as_json=json, text=text)


def _session(credential: str, form: Format) -> str:
    """A session at AWS as its own programs read one: lines for a shell, or what a `credential_process` prints."""
    try:
        said = json_text.loads(credential)
        lines = [f"export {variable}={shlex.quote(str(said[name]))}" for name, variable in _VARIABLES.items()]
    except (ValueError, TypeError, KeyError) as error:
        raise Usage("This credential is no session at AWS: leave --format out.") from error
    return "\n".join(lines) if form == "env" else credential
