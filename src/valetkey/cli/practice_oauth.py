"""The practice GitHub's own consent: apps that registered, a page with two buttons, codes, tokens, and their end.

Whoever looks at its page is its one signed-in person. Codes work once, for ten minutes, for their app, address and
verifier; the token endpoint answers a form, or JSON to who accepts it, and errors with status 200, as GitHub does. An
address to come back to must be the registered one, exactly: GitHub allows folders below it, practice needs none.
Facts follow GitHub's pages "Authorizing OAuth apps" and "REST API endpoints for OAuth authorizations".
"""

import base64
import binascii
import hashlib
import hmac
import html
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

CODE_SECONDS: Final = 600
_MANUAL: Final = (
    "https://docs.github.com/apps/managing-oauth-apps/troubleshooting-oauth-app-access-token-request-errors"
)
_DENIED: Final = "The user has denied your application access."


@dataclass(frozen=True, slots=True)
class Content:
    """What is no JSON document."""

    type: str
    text: str


Answer = tuple[int, list[tuple[str, str]], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class PracticeApp:
    """An app that registered."""

    client_id: str
    client_secret: str
    redirect_uri: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """An access token: whose, for which app, and what it may do."""

    login: str
    client_id: str
    scopes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    client_id: str
    redirect_uri: str
    scopes: tuple[str, ...]
    state: str
    challenge: str
    login: str
    until: float


@dataclass(slots=True)
class PracticeConsent:
    """`tokens` are those that work now. `now` is the clock."""

    now: Callable[[], float] = time.monotonic
    tokens: dict[str, Given] = field(default_factory=dict)
    _apps: dict[str, PracticeApp] = field(default_factory=dict)
    _pages: dict[str, _Asked] = field(default_factory=dict)
    _codes: dict[str, _Asked] = field(default_factory=dict)

    def register(self, app: PracticeApp) -> None:
        """Let an app ask people."""
        self._apps[app.client_id] = app

    def page(self, query: str, login: str) -> Answer:
        """`GET /login/oauth/authorize`: who asks for what, and two buttons."""
        said = dict(parse_qsl(query))
        app = self._apps.get(said.get("client_id", ""))
        if app is None or not login:
            return 404, [], _page("Page not found", "")
        if said.get("redirect_uri", app.redirect_uri) != app.redirect_uri:
            return _back(app.redirect_uri, error="redirect_uri_mismatch", state=said.get("state", ""))
        if said.get("code_challenge") and said.get("code_challenge_method") != "S256":
            return _back(app.redirect_uri, error="invalid_request", state=said.get("state", ""))
        number = secrets.token_hex(16)
        self._pages[number] = asked = _Asked(
            client_id=app.client_id,
            redirect_uri=app.redirect_uri,
            scopes=tuple(dict.fromkeys(said.get("scope", "").replace(",", " ").split())),
            state=said.get("state", ""),
            challenge=said.get("code_challenge", ""),
            login=login,
            until=self.now() + CODE_SECONDS,
        )
        lines = "".join(f"<li>{html.escape(scope)}</li>" for scope in asked.scopes) or "<li>public information</li>"
        form = (
            f"<p>{html.escape(app.client_id)} wants access to the account {html.escape(login)}:</p><ul>{lines}</ul>"
            f'<form method="post" action="/login/oauth/authorize"><input type="hidden" name="page" value="{number}">'
            '<button name="authorize" value="0">Cancel</button> <button name="authorize" value="1">Authorize</button>'
            "</form>"
        )
        return 200, [], _page("Authorize", form)

    def decided(self, body: bytes) -> Answer:
        """`POST /login/oauth/authorize`: back to the app, with a code or without. A page is answered once."""
        said = dict(parse_qsl(body.decode("utf-8", "replace")))
        asked = self._pages.pop(said.get("page", ""), None)
        if asked is None or self.now() >= asked.until:
            return 422, [], _page("Your browser did something unexpected", "")
        if said.get("authorize") != "1":
            more = {"error_description": _DENIED, "error_uri": _MANUAL}
            return _back(asked.redirect_uri, error="access_denied", state=asked.state, **more)
        code = secrets.token_hex(10)
        self._codes[code] = asked
        return _back(asked.redirect_uri, code=code, state=asked.state)

    def redeemed(self, body: bytes, accept: str) -> Answer:
        """`POST /login/oauth/access_token`. A code is used up by whoever shows it, whatever comes of it."""
        said = dict(parse_qsl(body.decode("utf-8", "replace")))
        asked = self._codes.pop(said.get("code", ""), None)
        app = self._apps.get(said.get("client_id", ""))
        if app is None or not _is_same(said.get("client_secret", ""), app.client_secret):
            return _told(_problem("incorrect_client_credentials"), accept)
        fits = asked is not None and asked.client_id == app.client_id and self.now() < asked.until
        if asked is None or not fits or (asked.challenge and asked.challenge != _challenge(said)):
            return _told(_problem("bad_verification_code"), accept)
        if said.get("redirect_uri", asked.redirect_uri) != asked.redirect_uri:
            return _told(_problem("redirect_uri_mismatch"), accept)
        token = "gho_" + secrets.token_hex(18)
        self.tokens[token] = Given(login=asked.login, client_id=app.client_id, scopes=asked.scopes)
        return _told({"access_token": token, "scope": ",".join(asked.scopes), "token_type": "bearer"}, accept)

    def ended(self, client_id: str, authorization: str, body: bytes, *, whole_grant: bool) -> Answer:
        """`DELETE /applications/{client_id}/token` or `/grant`: one token, or all that person gave this app."""
        app = self._apps.get(client_id)
        if app is None or not _is_same(_basic(authorization), f"{app.client_id}:{app.client_secret}"):
            return 401, [], {"message": "Bad credentials", "status": "401"}
        try:
            said = json.loads(body)
        except ValueError:
            said = None
        token = said.get("access_token") if isinstance(said, dict) else None
        if not isinstance(token, str) or not token:
            return 422, [], {"message": "Validation Failed", "status": "422"}
        given = self.tokens.get(token)
        if given is None or given.client_id != client_id:
            return 404, [], {"message": "Not Found", "status": "404"}
        same = [t for t, g in self.tokens.items() if (g.login, g.client_id) == (given.login, client_id)]
        for one in same if whole_grant else [token]:
            del self.tokens[one]
        return 204, [], Content("", "")


def _challenge(said: dict[str, str]) -> str:
    digest = hashlib.sha256(said.get("code_verifier", "").encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _basic(authorization: str) -> str:
    scheme, _, given = authorization.partition(" ")
    try:
        return base64.b64decode(given, validate=True).decode() if scheme.lower() == "basic" else ""
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _is_same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


def _problem(error: str) -> dict[str, str]:
    return {"error": error, "error_description": error.replace("_", " ").capitalize() + ".", "error_uri": _MANUAL}


def _told(document: dict[str, str], accept: str) -> Answer:
    if "application/json" in accept:
        return 200, [("cache-control", "no-store")], document
    return 200, [("cache-control", "no-store")], Content("application/x-www-form-urlencoded", urlencode(document))


def _back(redirect_uri: str, **said: str) -> Answer:
    query = urlencode({name: value for name, value in said.items() if value})
    return 302, [("location", f"{redirect_uri}?{query}")], Content("text/html; charset=utf-8", "")


def _page(title: str, rest: str) -> Content:
    text = f'<!doctype html><html lang="en"><title>{title}</title><h1>{title}</h1>{rest}</html>'
    return Content("text/html; charset=utf-8", text)
