"""An STS nobody is fooled by: it keeps every request as it came, and makes the sessions an account would make.

Strict where AWS is: a role it knows, a key it knows, a policy that is JSON of at most 2,048 characters, at least 900
seconds. What it makes is good nowhere. Facts follow the STS API Reference, `AssumeRole`.
"""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

import jwt

from valetkey.server.clock import DrivenClock

Message = MutableMapping[str, Any]
ACCOUNT = "111122223333"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/agents/reports"
KEY_ID, KEY_SECRET = "AKIAVALETKEYEXAMPLE1", "canarySecretOfTheAccessKey/0123456789+abc"
SESSION_TOKEN = "canarySessionToken0123456789+/="


@dataclass
class Asked:
    """One request: its raw body, its headers, and what the body says."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def said(self) -> dict[str, str]:
        found = parse_qs(self.body.decode(), strict_parsing=True)
        assert all(len(values) == 1 for values in found.values())
        return {name: values[0] for name, values in found.items()}

    @property
    def policy(self) -> Any:
        return json.loads(self.said["Policy"])

    @property
    def tags(self) -> dict[str, str]:
        said, numbers = self.said, range(1, 10)
        return {
            said[f"Tags.member.{n}.Key"]: said[f"Tags.member.{n}.Value"]
            for n in numbers
            if f"Tags.member.{n}.Key" in said
        }


@dataclass
class Called:
    """One call to S3, as it came."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes


@dataclass
class Provider:
    """An OpenID Connect provider as IAM keeps one, and what the role's trust asks of its tokens.

    `reads` gets its key set; `trusts` is what `sub` must begin with.
    """

    issuer: str
    reads: Callable[[], Awaitable[Any]]
    trusts: str
    audience: str = "sts.amazonaws.com"
    known: Any = None

    def problem(self, asked: "Asked", now: float) -> str:
        """The code STS refuses with; empty when the token is taken. A library nobody here wrote reads it."""
        token = asked.said["WebIdentityToken"]
        try:
            key = jwt.PyJWKSet.from_dict(self.known)[jwt.get_unverified_header(token)["kid"]]
            ours = {"verify_exp": False, "verify_iat": False}  # by the clock of the story, below
            said = jwt.decode(
                token, key, algorithms=["ES256"], audience=self.audience, issuer=self.issuer, options=ours
            )
        except (jwt.PyJWTError, KeyError):
            return "InvalidIdentityToken"
        if not said["iat"] <= now < said["exp"] <= said["iat"] + 86_400:
            return "ExpiredTokenException"
        return "" if said["sub"].startswith(self.trusts) else "AccessDenied"


@dataclass
class AwsAccount:
    """The application. `answers` rewrites what it says; `on_assume` may look on or act before it answers."""

    clock: DrivenClock
    asked: list[Asked] = field(default_factory=list)
    answers: Callable[[str], str] = lambda text: text
    on_assume: Callable[[], Awaitable[None]] | None = None
    calls: list["Called"] = field(default_factory=list)
    replies: tuple[int, bytes] = (200, b"<Done/>")
    refuses: str = ""
    fails_with: int = 0
    provider: "Provider | None" = None

    @property
    def sessions(self) -> list[Asked]:
        """Those that may do something: not the trying out."""
        return [one for one in self.asked if one.policy["Statement"][0]["Effect"] == "Allow"]

    async def __call__(self, scope: Message, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
        if scope["raw_path"] != b"/":
            target = (scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")).decode()
            lines = [(name.decode().lower(), value.decode()) for name, value in scope["headers"]]
            self.calls.append(Called(scope["method"], target, lines, body))
            status, said = self.replies
            head = [(b"content-type", b"application/xml"), (b"content-length", str(len(said)).encode())]
            await send({"type": "http.response.start", "status": status, "headers": head})
            await send({"type": "http.response.body", "body": said})
            return
        self.asked.append(Asked(scope["raw_path"].decode(), headers, body))
        if self.on_assume is not None:
            await self.on_assume()
        if self.provider is not None and self.provider.known is None:
            self.provider.known = await self.provider.reads()
        status, text = self._answer(self.asked[-1])
        head = [(b"content-type", b"text/xml"), (b"content-length", str(len(text)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": head})
        await send({"type": "http.response.body", "body": text.encode()})

    def _refuses(self, asked: Asked) -> str:
        """Why whoever asks may not take on the role: the user of the key, or a token where the role trusts them."""
        authorization = asked.headers.get("authorization", "")
        match asked.said["Action"]:
            case "AssumeRole" if authorization.startswith(f"AWS4-HMAC-SHA256 Credential={KEY_ID}/"):
                return ""
            case "AssumeRoleWithWebIdentity" if self.provider is not None and not authorization:
                return self.provider.problem(asked, self.clock.now())
        return "AccessDenied"

    def _answer(self, asked: Asked) -> tuple[int, str]:
        if self.fails_with:
            return self.fails_with, ""
        said = asked.said
        refused = self.refuses or self._refuses(asked)
        if refused or said["RoleArn"] != ROLE:
            return 403, f"<ErrorResponse><Error><Code>{refused or 'AccessDenied'}</Code></Error></ErrorResponse>"
        if len(said["Policy"]) > 2048 or not 900 <= int(said["DurationSeconds"]) <= 43200:
            return 400, "<ErrorResponse><Error><Code>ValidationError</Code></Error></ErrorResponse>"
        ends = datetime.fromtimestamp(int(self.clock.now()) + int(said["DurationSeconds"]), UTC)
        name = said["RoleSessionName"]
        return 200, self.answers(
            "<AssumeRoleResponse><AssumeRoleResult>"
            f"<AssumedRoleUser><Arn>arn:aws:sts::{ACCOUNT}:assumed-role/reports/{name}</Arn></AssumedRoleUser>"
            f"<Credentials><AccessKeyId>ASIASESSION{len(self.asked):09}</AccessKeyId>"
            f"<SecretAccessKey>canarySecretOfTheSession0123456789</SecretAccessKey>"
            f"<SessionToken>{SESSION_TOKEN}</SessionToken>"
            f"<Expiration>{ends:%Y-%m-%dT%H:%M:%SZ}</Expiration></Credentials>"
            "<PackedPolicySize>12</PackedPolicySize></AssumeRoleResult></AssumeRoleResponse>"
        )
