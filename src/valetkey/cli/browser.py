"""The part of `valetkey login` that needs a browser, here or elsewhere: waits for an answer, and redeems it."""

import os
import socket
import sys
import webbrowser
from typing import Final

from valetkey.cli.asked import secret
from valetkey.cli.output import inert, notice
from valetkey.cli.problems import Cancelled
from valetkey.client.answers import Login
from valetkey.client.browser_login import BrowserLogin, is_same_place
from valetkey.client.errors import InvalidRequest
from valetkey.client.shown_login import ShownLogin
from valetkey.client.sync import Client

WAIT_SECONDS: Final = 300.0


def is_at_hand() -> bool:
    """Whether a browser with a window can be opened beside this terminal."""
    if not sys.stdin.isatty():
        return False
    if os.environ.get("BROWSER"):
        return True
    has_screen = sys.platform != "linux" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    try:
        return bool(has_screen) and webbrowser.get() is not None
    except webbrowser.Error:
        return False


def log_in(client: Client, *, opens: bool, seconds: float = WAIT_SECONDS) -> Login:
    """Have the person answer in a browser. Raises `Cancelled` when she says no or nobody answers in time."""
    with BrowserLogin(_issuer(client), name=socket.gethostname()) as login:
        opening = "Your browser opens. If it does not, open this address" if opens else "Open this address in a browser"
        notice(f"{opening} on this computer, and say there whether this command line may act as you:")
        notice(f"  {inert(login.url)}")
        if opens:
            webbrowser.open(login.url)
        try:
            answer = login.wait(seconds)
        except TimeoutError:
            raise Cancelled(
                f"Nobody answered in the browser within {round(seconds)} seconds.",
                hint="Start again: valetkey login; without a browser on this computer: valetkey login --device",
            ) from None
    if answer.error == "access_denied":
        raise Cancelled("Cancelled in the browser. Nobody was signed in.", hint="Start again: valetkey login")
    if answer.error:
        raise InvalidRequest(f"The server refused: {answer.error}.", hint="Start again: valetkey login")
    return client.redeem_login(answer.code, verifier=login.verifier, redirect_uri=login.redirect_uri)


def log_in_elsewhere(client: Client, *, from_stdin: bool) -> Login:
    """Have the person answer in a browser on another computer, and carry the code here."""
    login = ShownLogin(_issuer(client), name=socket.gethostname())
    notice("Open this address in a browser on another computer, and sign in there:")
    notice(f"  {inert(login.url)}")
    notice(f"Its page must show {login.comparison}. Press Allow there, and type here the code it shows then.")
    code = secret("Code", from_stdin=from_stdin, flag="--code-stdin")
    return client.redeem_login(code, verifier=login.verifier, redirect_uri=login.redirect_uri)


def _issuer(client: Client) -> str:
    """Where the browser goes."""
    issuer = client.issuer()
    # SECURITY: a server that named another as the one to ask would get, and could redeem, a code for that one.
    # Guarded by tests/flows/test_cli_login_command.py::test_a_server_that_calls_itself_another_is_not_asked
    if not is_same_place(client.url, issuer):
        raise InvalidRequest(
            f"The server at {client.url} calls itself {issuer}.", hint=f"valetkey login --url {issuer}"
        )
    return issuer
