"""`valetkey delegate` and `valetkey delegations list | show`: what a person lets an agent do for them."""

from typing import Annotated

from cyclopts import Parameter

from valetkey.cli.options import Json, Ttl, group
from valetkey.cli.output import facts, moment, show, table
from valetkey.cli.problems import Usage
from valetkey.cli.signed_in import signed_in
from valetkey.client.answers import Delegation

app = group("delegations", "What you let agents do for you.")


def delegate(
    *,
    agent: Annotated[str, Parameter(help="Who may act: its name or id.")],
    grant: Annotated[
        list[str] | None, Parameter(help="integration[/connection]:scope[,scope]@resource; may be repeated.")
    ] = None,
    ask: Annotated[
        list[str] | None, Parameter(help="Like --grant, but each of these calls waits for your approval; repeatable.")
    ] = None,
    ttl: Ttl = 600,
    purpose: Annotated[str, Parameter(help="Why, in a few words; the audit keeps them.")] = "",
    user: Annotated[
        str | None, Parameter(help="On whose behalf; only confirms who you are, or for administrators.")
    ] = None,
    standing: Annotated[bool, Parameter(help="It may act while you are away.")] = False,
    tasks_per_day: Annotated[int | None, Parameter(help="With --standing: at most so many tasks a day.")] = None,
    share_with: Annotated[
        list[str] | None, Parameter(help="A sub-agent that may receive part of it; repeatable.")
    ] = None,
    max_calls: Annotated[int | None, Parameter(help="At most so many calls per grant.")] = None,
    max_writes: Annotated[int | None, Parameter(help="At most so many writes per grant.")] = None,
    max_bytes: Annotated[int | None, Parameter(help="At most so many bytes per grant, sent and answered.")] = None,
    max_calls_per_resource: Annotated[int | None, Parameter(help="The same for each resource by itself.")] = None,
    max_writes_per_resource: Annotated[int | None, Parameter(help="The same for each resource by itself.")] = None,
    max_bytes_per_resource: Annotated[int | None, Parameter(help="The same for each resource by itself.")] = None,
    json: Json = False,
) -> int:
    """Record that an agent may act for you: read-only on one repository for ten minutes, say.

    For example: valetkey delegate --agent pr-reviewer-v2 --user alice@acme.com --grant
    github:repo:read@acme-corp/backend --ttl 10m --purpose "Review pull requests"
    """
    if tasks_per_day is not None and not standing:
        raise Usage("--tasks-per-day belongs to --standing.", hint="Add --standing, or leave it out.")
    if not grant and not ask:
        raise Usage(
            "Say what it may do.", hint="--grant github:repo:read@acme-corp/backend, or --ask to be asked first."
        )
    with signed_in() as client:
        delegation = client.delegations.create(
            agent=agent,
            user=user,
            grants=grant or (),
            ask=ask or (),
            seconds=ttl,
            purpose=purpose,
            standing=standing,
            tasks_per_day=tasks_per_day,
            share_with=share_with or (),
            max_calls=max_calls,
            max_writes=max_writes,
            max_bytes=max_bytes,
            max_calls_per_resource=max_calls_per_resource,
            max_writes_per_resource=max_writes_per_resource,
            max_bytes_per_resource=max_bytes_per_resource,
        )
    return show(delegation, as_json=json, text=worded(delegation))


@app.command(name="list")
def list_delegations(*, json: Json = False) -> int:
    """List delegations, with what each allows in words.

    For example: valetkey delegations list
    """
    with signed_in() as client:
        found = client.delegations.list()
    text = "" if json else table(found, ["id", "status", "mode", "sentence"], empty="Nothing is delegated.")
    return show(found, as_json=json, text=text)


@app.command(name="show")
def show_delegation(delegation: str, /, *, json: Json = False) -> int:
    """Show one delegation.

    For example: valetkey delegations show dlg_…
    """
    with signed_in() as client:
        found = client.delegations.get(delegation)
    return show(found, as_json=json, text=worded(found))


@app.command
def evidence(delegation: str, /, *, json: Json = False) -> int:
    """Prove that you are here: the agent opens one task with this within ten minutes. Shown only now.

    For example: valetkey delegations evidence dlg_…
    """
    with signed_in() as client:
        proof = client.delegations.evidence(delegation)
    return show(proof, as_json=json, text=proof["evidence"])


def worded(delegation: Delegation) -> str:
    """A delegation, for people."""
    return facts(
        {
            "id": delegation["id"],
            "sentence": delegation["sentence"],
            "status": delegation["status"],
            "mode": delegation["mode"],
            "basis": delegation["basis"],
            "purpose": delegation["purpose"],
            "grants": delegation["grants"],
            "until": moment(delegation["expires_at"]),
        }
    )
