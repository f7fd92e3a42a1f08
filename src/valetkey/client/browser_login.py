"""Signing in by a browser, seen from the program that asks: where the browser goes, and the answer it brings back.

Listens on 127.0.0.1 while the person answers. An answer counts when it holds the state that only the address we made
holds; whatever else arrives is refused, and waiting goes on. Specs: RFC 8252 section 7.3, RFC 7636, RFC 9207.
"""

import base64
import contextlib
import hashlib
import hmac
import queue
import secrets
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import ThreadingMixIn
from typing import Any, Final, NamedTuple
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

from valetkey.client.errors import Denied
from valetkey.client.http import base_of, is_loopback

_PATH: Final = "/callback"
_SILENCE_SECONDS: Final = 10.0
_LONGEST_NAME: Final = 64


class Answer(NamedTuple):
    """What the browser brought: a code, or why there is none."""

    code: str
    error: str


class NotOurs(Exception):
    """Not the answer to what this program asked."""


def told(query: str, *, state: str, issuer: str) -> Answer:
    """Read the answer. Raises `NotOurs` for any that does not hold our state, `Denied` for another server's.

    >>> told("code=vklc_1&state=ours&iss=https%3A%2F%2Fv.example", state="ours", issuer="https://v.example")
    Answer(code='vklc_1', error='')
    >>> told("code=vklc_1&state=theirs&iss=https%3A%2F%2Fv.example", state="ours", issuer="https://v.example")
    Traceback (most recent call last):
    valetkey.client.browser_login.NotOurs
    """
    pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=20)
    said = dict(pairs)
    # SECURITY: any page in the browser can reach this port; only who saw our address knows the state.
    # Guarded by tests/flows/test_cli_login_command.py::test_an_answer_with_another_state_is_refused
    if len(said) != len(pairs) or not hmac.compare_digest(said.get("state", "").encode(), state.encode()):
        raise NotOurs
    if said.get("iss") != issuer:
        raise Denied("The answer came from another server than was asked.", hint="Start again: valetkey login")
    code, error = said.get("code", ""), said.get("error", "")
    if bool(code) == bool(error):
        raise NotOurs
    return Answer(code, error)


def is_same_place(url: str, issuer: str) -> bool:
    """Whether a server reached at `url` may call itself `issuer`: just that, or another name of this machine.

    >>> is_same_place("http://127.0.0.1:8470", "http://localhost:8470"), is_same_place("https://a.example", "https://b.example")
    (True, False)
    """
    one, other = base_of(url), base_of(issuer)
    if is_loopback(one) and is_loopback(other):
        return (one.scheme, _port(one)) == (other.scheme, _port(other))
    return (one.scheme, one.hostname, _port(one), one.path) == (other.scheme, other.hostname, _port(other), other.path)


def _port(parts: SplitResult) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)


class BrowserLogin:
    """One attempt. Listens from the moment it is entered; `url` is for the browser, `verifier` for the exchange."""

    def __init__(self, issuer: str, *, name: str) -> None:
        self._issuer = issuer
        self._state = secrets.token_urlsafe(32)
        self.verifier = secrets.token_urlsafe(32)
        self._answers: queue.SimpleQueue[Answer | Denied] = queue.SimpleQueue()
        self._server = _Server(self)
        self.redirect_uri = f"http://127.0.0.1:{self._server.server_address[1]}{_PATH}"
        digest = hashlib.sha256(self.verifier.encode()).digest()
        asked = {
            "redirect_uri": self.redirect_uri,
            "state": self._state,
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
            "name": name[:_LONGEST_NAME],
        }
        self.url = f"{issuer}/login/cli?{urlencode(asked)}"
        self._thread = threading.Thread(target=self._server.serve_forever, name="browser-login", daemon=True)

    def __enter__(self) -> "BrowserLogin":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def wait(self, seconds: float) -> Answer:
        """The answer, once. Raises `TimeoutError` when none came, `Denied` for one that another server gave."""
        try:
            found = self._answers.get(timeout=seconds)
        except queue.Empty:
            raise TimeoutError from None
        if isinstance(found, Denied):
            raise found
        return found

    def arrived(self, query: str) -> Answer | Denied:
        """What came to our address. Raises `NotOurs`."""
        try:
            return told(query, state=self._state, issuer=self._issuer)
        except Denied as denied:
            return denied

    def keep(self, answer: Answer | Denied) -> None:
        """Give it to whoever waits. The first one counts."""
        self._answers.put(answer)


class _Server(ThreadingMixIn, HTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, login: BrowserLogin) -> None:
        self.login = login
        super().__init__(("127.0.0.1", 0), _Connection)

    def server_bind(self) -> None:
        # NOTE: HTTPServer would look up a name for the address, which can take seconds.
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away is its own affair."""


class _Connection(BaseHTTPRequestHandler):
    timeout = _SILENCE_SECONDS
    server: _Server

    def do_GET(self) -> None:
        login, target = self.server.login, urlsplit(self.path)
        own = urlsplit(login.redirect_uri)
        if target.path != own.path or self.headers.get("Host") != own.netloc:
            self._page(404, "There is nothing here.")
            return
        try:
            answer = login.arrived(target.query)
        except (NotOurs, ValueError):
            self._page(400, "This is not the answer that valetkey login waits for.")
            return
        if isinstance(answer, Denied):
            self._page(400, "This answer came from another server. Nobody was signed in.")
        elif answer.error:
            self._page(200, "Nobody was signed in. You can close this page.")
        else:
            self._page(200, "Go back to the terminal: valetkey login goes on there. You can close this page.")
        login.keep(answer)  # once the page has its sentence, for the program may end now

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name it has in the standard library
        """The addresses hold a code: they are written nowhere."""

    def _page(self, status: int, sentence: str) -> None:
        body = (
            '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="color-scheme" content="light dark">'
            f"<title>Valetkey</title><p>{sentence}</p>"
        ).encode()
        with contextlib.suppress(OSError):
            self.send_response_only(status)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
            self.send_header("Referrer-Policy", "no-referrer")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(body)
