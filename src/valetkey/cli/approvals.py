"""`valetkey approvals`: what agents ask you before they do it, and your answers."""

from typing import Annotated, Any

from cyclopts import Parameter

from valetkey.cli.options import Json, group
from valetkey.cli.output import facts, moment, show, table
from valetkey.cli.signed_in import signed_in
from valetkey.client.answers import Approval

app = group("approvals", "Calls of agents that wait for your answer.")


@app.command(name="list")
def list_approvals(*, json: Json = False) -> int:
    """List what waits for you, and what you answered for whole tasks.

    For example: valetkey approvals list
    """
    with signed_in() as client:
        found = client.approvals.list()
    text = ""
    if not json:
        rows = [_row(one) for one in found["data"]]
        text = table(rows, ["id", "status", "agent", "call", "until"], empty="Nothing waits for you.")
        if found["standing"]:
            text += "\n\nAnswered until a task ends:\n" + table(found["standing"], ["id", "words"], empty="")
    return show(found, as_json=json, text=text)


@app.command(name="show")
def show_approval(approval: str, /, *, json: Json = False) -> int:
    """Show one: the exact call, from the bytes that will be sent.

    For example: valetkey approvals show apr_…
    """
    with signed_in() as client:
        found = client.approvals.get(approval)
    return show(found, as_json=json, text=_worded(found))


@app.command
def approve(approval: str, /, *, json: Json = False) -> int:
    """Let the agent make this one call, once. What is dangerous is approved on its page only.

    For example: valetkey approvals approve apr_…
    """
    with signed_in() as client:
        answered = client.approvals.answer(approval, "approve")
    return show(answered, as_json=json, text=_worded(answered))


@app.command(name="allow-like-this")
def allow_like_this(approval: str, /, *, json: Json = False) -> int:
    """Let the agent make this call and all like it until its task ends; `end` takes it back.

    For example: valetkey approvals allow-like-this apr_…
    """
    with signed_in() as client:
        answered = client.approvals.answer(approval, "approve-like-this")
    return show(answered, as_json=json, text=_worded(answered))


@app.command
def deny(
    approval: str,
    /,
    *,
    message: Annotated[str, Parameter(help="What the agent is told.")] = "",
    json: Json = False,
) -> int:
    """Do not let the agent make this call.

    For example: valetkey approvals deny apr_… --message "Ask in the review instead."
    """
    with signed_in() as client:
        answered = client.approvals.answer(approval, "deny", message=message)
    return show(answered, as_json=json, text=_worded(answered))


@app.command
def end(answer: str, /, *, json: Json = False) -> int:
    """Take back an answer that holds until a task ends.

    For example: valetkey approvals end apr_…
    """
    with signed_in() as client:
        left = client.approvals.end_standing(answer)
    return show(left, as_json=json, text="It asks again from now on.")


def _row(one: Approval) -> dict[str, Any]:
    call = one.get("call", {})
    what = f"{call.get('method', '')} {call.get('host', '')}{call.get('path', '')}"
    return {**one, "call": what, "until": moment(one["expires_at"])}


def _worded(one: Approval) -> str:
    call = one.get("call", {})
    said = {
        "id": one["id"],
        "status": one["status"],
        "agent": one.get("agent", ""),
        "account": one.get("account", ""),
        "call": f"{call.get('method', '')} {call.get('host', '')}{call.get('path', '')}",
        "what": call.get("title", ""),
        "query": [f"{name} = {value}" for name, value in call.get("query", [])],
        "body": [f"{name} = {value}" for name, value in call.get("body", [])] or call.get("body_kind", ""),
        "text": call.get("text", ""),
        "why": one.get("why", ""),
        "the agent says": one.get("claimed_purpose", ""),
        "message": one["message"],
        "until": moment(one["expires_at"]),
        "link": one["link"],
    }
    return facts({name: value for name, value in said.items() if value})
