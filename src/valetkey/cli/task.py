"""`valetkey task open | list | child | end`: one run of an agent under a delegation."""

from typing import Annotated

from cyclopts import Parameter

from valetkey.cli.asked import secret
from valetkey.cli.options import Grants, Json, OptionalGrants, OptionalTtl, group
from valetkey.cli.output import facts, moment, notice, show, table
from valetkey.cli.revoke import worded as report_worded
from valetkey.cli.signed_in import as_agent, signed_in
from valetkey.client.answers import Task

app = group("task", "Open, list and end tasks.")


@app.command(name="open")
def open_task(
    delegation: str,
    /,
    *,
    grant: OptionalGrants = None,
    ttl: OptionalTtl = None,
    purpose: Annotated[str | None, Parameter(help="Why, in a few words.")] = None,
    agent: Annotated[str | None, Parameter(help="Open it as this agent, whose secret is on this machine.")] = None,
    evidence_stdin: Annotated[bool, Parameter(help="With --agent: read your evidence from standard input.")] = False,
    token_only: Annotated[bool, Parameter(help="Print the task token and nothing else.")] = False,
    json: Json = False,
) -> int:
    """Open a task under a delegation of yours. The task token is for the agent; it is shown only now.

    For example: valetkey task open dlg_… --ttl 5m --token-only | valetkey token --task-token-stdin --for github
    """
    evidence = secret("Evidence", from_stdin=True, flag="--evidence-stdin") if evidence_stdin else None
    with as_agent(agent) if agent else signed_in() as client:
        task = client.tasks.create(delegation, grants=grant or (), seconds=ttl, purpose=purpose, evidence=evidence)
    return _shown_once(task, as_json=json, token_only=token_only)


@app.command(name="list")
def list_tasks(*, json: Json = False) -> int:
    """List tasks, with what each allows in words.

    For example: valetkey task list
    """
    with signed_in() as client:
        tasks = client.tasks.list()
    text = "" if json else table(tasks, ["id", "status", "sentence"], empty="There are no tasks.")
    return show(tasks, as_json=json, text=text)


@app.command
def child(
    task: str,
    /,
    *,
    agent: Annotated[str, Parameter(help="The sub-agent that receives part of the task.")],
    grant: Grants,
    ttl: OptionalTtl = None,
    as_agent_named: Annotated[
        str | None, Parameter(name="--as", help="The task's agent, whose secret is on this machine.")
    ] = None,
    token_only: Annotated[bool, Parameter(help="Print the task token and nothing else.")] = False,
    json: Json = False,
) -> int:
    """As the agent of a task: hand a narrower part of it to a sub-agent.

    For example: valetkey task child tsk_… --as pr-reviewer-v2 --agent linter --grant
    github:pulls:read@acme-corp/backend
    """
    with as_agent(as_agent_named) as client:
        opened = client.tasks.create_child(task, agent=agent, grants=grant, seconds=ttl)
    return _shown_once(opened, as_json=json, token_only=token_only)


@app.command
def end(task: str, /, *, json: Json = False) -> int:
    """End a task, its sub-agents' tasks and every credential under them, at once.

    For example: valetkey task end tsk_…
    """
    with signed_in() as client:
        report = client.revocations.create(task, reason="task ended")
    return show(report, as_json=json, text=report_worded(report))


def _shown_once(task: Task, *, as_json: bool, token_only: bool) -> int:
    token = task.get("task_token", "")
    if token_only:
        return show(task, as_json=as_json, text=token)
    notice("The task token is shown only now; only its agent can use it.")
    text = facts(
        {
            "id": task["id"],
            "sentence": task["sentence"],
            "agent": task["agent"],
            "until": moment(task["expires_at"]),
            "task_token": token,
        }
    )
    return show(task, as_json=as_json, text=text)
