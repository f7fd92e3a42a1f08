"""`valetkey login | logout`. The credential goes to the private profile and nowhere else."""

from typing import Annotated

from cyclopts import Parameter

from valetkey.cli import browser
from valetkey.cli.asked import secret
from valetkey.cli.options import Json
from valetkey.cli.output import inert, notice, show
from valetkey.cli.problems import Usage
from valetkey.client.credentials import UserCredential
from valetkey.client.errors import NotAuthenticated, NotFound, Unreachable
from valetkey.client.profile import Profile
from valetkey.client.sync import Client


def login(
    *,
    no_browser: Annotated[bool, Parameter(help="Open none: print the address to go to on this computer.")] = False,
    device: Annotated[
        bool, Parameter(help="By a browser on another computer: prints an address, asks for a code.")
    ] = False,
    code_stdin: Annotated[bool, Parameter(help="By a one-time code, or --device's, from standard input.")] = False,
    email: Annotated[str, Parameter(help="Who you are; only for the first person of a new server.")] = "",
    organization: Annotated[str | None, Parameter(help="Its name; only for the first person.")] = None,
    url: Annotated[str | None, Parameter(help="The server; VALETKEY_URL otherwise.")] = None,
    json: Json = False,
) -> int:
    """Sign in: by your browser where there is one, by one on another computer with --device, or with a one-time code.

    The code is the one the server printed at its first start, or that an invitation holds. It is asked for with
    --email and --code-stdin, and in a terminal without a browser. For example: valetkey login
    """
    profile = Profile()
    address = (url or profile.url).rstrip("/")
    for_the_first = bool(email) or organization is not None
    by_code = (code_stdin and not device) or for_the_first
    if by_code and no_browser:
        raise Usage("--no-browser does not go with a one-time code.", hint="valetkey login --help")
    if device and (no_browser or for_the_first):
        raise Usage("--device goes with --code-stdin alone.", hint="valetkey login --help")
    with Client(address) as client:
        if device:
            answer = browser.log_in_elsewhere(client, from_stdin=code_stdin)
        elif not by_code and (no_browser or browser.is_at_hand()):
            answer = browser.log_in(client, opens=not no_browser)
        else:
            code = secret("One-time code", from_stdin=code_stdin, flag="--code-stdin")
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
