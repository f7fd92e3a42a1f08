"""`valetkey login | logout`. The credential goes to the private profile and nowhere else."""

from typing import Annotated

from cyclopts import Parameter

from valetkey.cli.asked import secret
from valetkey.cli.options import Json
from valetkey.cli.output import inert, notice, show
from valetkey.client.credentials import UserCredential
from valetkey.client.errors import NotAuthenticated, NotFound, Unreachable
from valetkey.client.profile import Profile
from valetkey.client.sync import Client


def login(
    *,
    code_stdin: Annotated[bool, Parameter(help="Read the one-time code from standard input.")] = False,
    email: Annotated[str, Parameter(help="Who you are; only for the first person of a new server.")] = "",
    organization: Annotated[str | None, Parameter(help="Its name; only for the first person.")] = None,
    url: Annotated[str | None, Parameter(help="The server; VALETKEY_URL otherwise.")] = None,
    json: Json = False,
) -> int:
    """Sign in with the one-time code that the server printed at its first start, or that an invitation holds.

    For example: valetkey login --email alice@acme.com
    """
    profile = Profile()
    address = (url or profile.url).rstrip("/")
    code = secret("One-time code", from_stdin=code_stdin, flag="--code-stdin")
    with Client(address) as client:
        answer = client.log_in(code, email=email, organization=organization)
    with Client(address, credential=UserCredential(answer["credential"])) as client:
        found = client.who_am_i()
    user = answer["user"]
    profile.keep_login(address, credential=answer["credential"], user=user["email"], gateway=found["gateway"])
    text = f"Signed in at {address} as {inert(user['email'])} ({user['role']})."
    return show({"url": address, "user": user, "organization": found["organization"]}, as_json=json, text=text)


def logout(*, json: Json = False) -> int:
    """End this login at the server and forget it on this machine.

    For example: valetkey logout
    """
    profile = Profile()
    address, ended = profile.url, False
    try:
        with Client(address, credential=profile.credential()) as client:
            client.log_out()
        ended = True
    except (NotAuthenticated, Unreachable) as error:
        notice(f"The server was not told: {inert(error.detail)}")
    dropped = profile.drop_login()
    if not dropped and not ended:
        raise NotFound(f"Nobody is signed in at {address}.", hint="There is nothing to do.")
    return show({"url": address, "ended": ended}, as_json=json, text=f"Signed out at {address}.")
