"""`valetkey user create | code | list | suspend | resume`: the people of the organization, for administrators."""

from typing import Annotated, Literal

from cyclopts import Parameter

from valetkey.cli.options import Json, group
from valetkey.cli.output import facts, inert, moment, notice, show, table
from valetkey.cli.signed_in import signed_in

app = group("user", "Invite people, give them a new code, list, suspend and resume people.")


@app.command
def create(
    email: str,
    /,
    *,
    role: Annotated[Literal["member", "administrator"], Parameter(help="What they may do here.")] = "member",
    json: Json = False,
) -> int:
    """Invite a person. The one-time code in the answer is shown only now; send it to them privately.

    For example: valetkey user create alice@acme.com
    """
    with signed_in() as client:
        user = client.users.create(email, role=role)
    notice("The code signs them in once: valetkey login --code-stdin. It is shown only now.")
    shown = facts({"id": user["id"], "email": user["email"], "role": user["role"], "code": user.get("code")})
    return show(user, as_json=json, text=shown)


@app.command
def code(user: str, /, *, json: Json = False) -> int:
    """Make a new one-time code for a person who is a user already: a lost phone, an expired invitation.

    It is good for ten minutes and shown only now; a code they were given before is void. Whoever uses it is signed in
    without that person's passkey or password, so make sure of who asks. What was signed in as them ends then.

    For example: valetkey user code alice@acme.com
    """
    with signed_in() as client:
        made = client.users.new_code(user)
    notice("The code signs them in once, and ends what was signed in as them. It is shown only now.")
    shown = {"id": made["id"], "email": made["email"], "code": made["code"], "until": moment(made["expires_at"])}
    return show(made, as_json=json, text=facts(shown))


@app.command(name="list")
def list_users(*, json: Json = False) -> int:
    """List the people of the organization.

    For example: valetkey user list
    """
    with signed_in() as client:
        users = client.users.list()
    text = "" if json else table(users, ["id", "email", "role", "status"], empty="There is nobody yet.")
    return show(users, as_json=json, text=text)


@app.command
def suspend(user: str, /, *, json: Json = False) -> int:
    """Stop a person, and every agent that acts for them, until they are resumed. Takes an id or an email.

    For example: valetkey user suspend alice@acme.com
    """
    with signed_in() as client:
        changed = client.users.set_status(user, "suspend")
    return show(changed, as_json=json, text=f"{inert(changed['email'])} is suspended.")


@app.command
def resume(user: str, /, *, json: Json = False) -> int:
    """Let a suspended person go on.

    For example: valetkey user resume alice@acme.com
    """
    with signed_in() as client:
        changed = client.users.set_status(user, "resume")
    return show(changed, as_json=json, text=f"{inert(changed['email'])} is active.")
