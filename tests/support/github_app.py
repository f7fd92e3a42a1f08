"""A GitHub that an app is installed on: mints installation tokens, narrows them, and forgets them when told.

Wraps the practice GitHub. It is strict where GitHub is: an app proves itself by a JWT of at most ten minutes that PyJWT
verifies, a token reaches only the repositories and permissions it was made for, an empty list of repositories is every
repository. It counts what was made and what was ended. Facts follow GitHub's REST documentation.
"""

import datetime
import json
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from valetkey.cli.practice_github import PracticeGitHub
from valetkey.server.clock import DrivenClock

Message = MutableMapping[str, Any]
APP, INSTALLATION, BOT = "4711", "815", "acme-app[bot]"


@dataclass
class Token:
    """One installation token. `repositories` empty means all, as at GitHub."""

    repositories: frozenset[int]
    permissions: dict[str, str]
    is_live: bool = True


def new_key() -> tuple[str, Any]:
    """An app's private key in PEM, and its public half."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    return pem.decode(), key.public_key()


@dataclass
class GitHubWithApps:
    """The application. `tokens` is everything it made; `on_mint` may look on or misbehave before it answers."""

    github: PracticeGitHub
    clock: DrivenClock
    public_key: Any
    held: dict[str, str] = field(
        default_factory=lambda: {"contents": "write", "issues": "write", "pull_requests": "read", "metadata": "read"}
    )
    tokens: dict[str, Token] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)
    on_mint: Callable[[], Awaitable[None]] | None = None
    gives_everything: bool = False
    fails_with: int = 0

    async def __call__(self, scope: Message, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return await self.github(scope, receive, send)
        path = scope["path"]
        bearer = dict(scope["headers"]).get(b"authorization", b"").decode().removeprefix("Bearer ")
        if path.startswith("/app/installations/"):
            return await self._answer(send, *await self._as_app(scope["method"], path, bearer, await _body(receive)))
        if self.fails_with:
            return await self._answer(send, self.fails_with, {"message": "Unavailable"})
        if bearer in self.tokens:
            if path == "/installation/token" and scope["method"] == "DELETE" and self.tokens[bearer].is_live:
                self.tokens[bearer].is_live = False
                self.ended.append(bearer)
                return await self._answer(send, 204, None)
            status = self._refuses(bearer, scope["method"], path)
            if status:
                return await self._answer(send, status, {"message": "Resource not accessible by integration"})
        return await self.github(scope, receive, send)

    async def _as_app(self, method: str, path: str, bearer: str, body: bytes) -> tuple[int, Any]:
        try:
            options: Any = {"verify_exp": False, "verify_iat": False, "require": ["iat", "exp", "iss"]}
            claims = jwt.decode(bearer, self.public_key, algorithms=["RS256"], options=options)
        except jwt.InvalidTokenError:
            return 401, {"message": "A JSON web token could not be decoded"}
        now = self.clock.now()
        if claims["iss"] != APP or not claims["iat"] <= now < claims["exp"] <= now + 600:
            return 401, {"message": "'Expiration time' claim ('exp') is too far in the future"}
        if method == "GET" and path == f"/app/installations/{INSTALLATION}":
            return 200, {"id": int(INSTALLATION), "account": {"login": "acme-corp", "id": 1}}
        if method != "POST" or path != f"/app/installations/{INSTALLATION}/access_tokens":
            return 404, {"message": "Not Found"}
        if self.on_mint is not None:
            await self.on_mint()
        asked = json.loads(body or b"{}")
        wanted = asked.get("permissions") or self.held
        rank = {"read": 1, "write": 2}
        if any(rank[access] > rank.get(self.held.get(name, ""), 0) for name, access in wanted.items()):
            return 422, {"message": "The permissions requested are not granted to this installation."}
        if self.gives_everything:
            asked, wanted = {}, self.held
        ids = frozenset(asked.get("repository_ids") or ())
        token = f"ghs_practice{len(self.tokens):04}0123456789abcdefghij"
        self.tokens[token] = Token(ids, {"metadata": "read", **wanted})
        self.github.add_user(BOT, token=token)
        ends = datetime.datetime.fromtimestamp(int(now) + 3600, datetime.UTC)
        return 201, {
            "token": token,
            "expires_at": ends.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "permissions": self.tokens[token].permissions,
            "repository_selection": "selected" if ids else "all",
        }

    def _refuses(self, bearer: str, method: str, path: str) -> int:
        token, parts = self.tokens[bearer], path.strip("/").split("/")
        if not token.is_live:
            return 401
        named = self.github._named("/".join(parts[1:3])) if parts[0] == "repos" else None
        number = named.id if named is not None else int(parts[1]) if parts[0] == "repositories" else 0
        if token.repositories and number not in token.repositories:
            return 404
        kind = {"issues": "issues", "pulls": "pull_requests", "contents": "contents"}
        needed = next((kind[part] for part in parts[2:] if part in kind), "metadata")
        held = token.permissions.get(needed, "")
        return 0 if held == "write" or (held == "read" and method == "GET") else 403

    async def _answer(self, send: Any, status: int, document: Any) -> None:
        content = b"" if document is None else json.dumps(document).encode()
        headers = [(b"content-type", b"application/json")] if document is not None else []
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})


async def _body(receive: Any) -> bytes:
    body = b""
    while (message := await receive())["type"] == "http.request":
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    return body
