"""A GitHub where people consent: codes that work once, for their client, address and verifier, and books of it all.

It has no pages: a test says who consents to the address a browser was sent to, and gets the address to come back to.
"""

import base64
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from tests.support.seen import Seen
from tests.support.upstream import Upstream, Wire, reply

CLIENT_ID = "Iv1.acme"
CLIENT_SECRET = "s3cret-of-the-app"


@dataclass
class ConsentProvider:
    """`redeemed` counts the codes it was shown; `tokens` are those that work, with whose account they are."""

    up: Upstream
    accounts: dict[str, int] = field(default_factory=lambda: {"alice": 11, "mallory": 66})
    redeemed: int = 0
    tokens: dict[str, str] = field(default_factory=dict)
    granted: str | None = None
    """What it says it gave; None: what was asked for."""
    extra: dict[str, Any] = field(default_factory=dict)
    ending_status: int = 204
    _codes: dict[str, dict[str, str]] = field(default_factory=dict)
    _made: int = 0

    def install(self) -> "ConsentProvider":
        self.up.answers("POST", "/login/oauth/access_token", script=self._token)
        self.up.answers("DELETE", f"/applications/{CLIENT_ID}/grant", script=self._end)
        self.up.answers("DELETE", f"/applications/{CLIENT_ID}/token", script=self._end)
        self.up.answers("GET", "/user", script=self._who)
        return self

    def consent(self, address: str, *, account: str = "alice", iss: str | None = None) -> str:
        """Agree as `account`; returns where the browser is sent back to, path and query."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        assert asked["client_id"] == CLIENT_ID
        assert asked["response_type"] == "code"
        self._made += 1
        code = f"code-{self._made}"
        self._codes[code] = {**asked, "account": account}
        said = {"code": code, "state": asked["state"]} | ({} if iss is None else {"iss": iss})
        back = urlsplit(asked["redirect_uri"])
        return f"{back.path}?{urlencode(said)}"

    async def _token(self, seen: Seen, wire: Wire) -> None:
        self.redeemed += 1
        said = {name: values[0] for name, values in parse_qs(seen.body.decode()).items()}
        asked = self._codes.pop(said.get("code", ""), None)
        if (said.get("client_id"), said.get("client_secret")) != (CLIENT_ID, CLIENT_SECRET):
            return await wire.say(_json({"error": "incorrect_client_credentials"}))
        proven = base64.urlsafe_b64encode(hashlib.sha256(said.get("code_verifier", "").encode()).digest()).rstrip(b"=")
        if (
            asked is None
            or asked["redirect_uri"] != said.get("redirect_uri")
            or asked["code_challenge"] != proven.decode()
        ):
            return await wire.say(_json({"error": "bad_verification_code"}))
        token = f"gho_practice{len(self.tokens) + 1:04}"
        self.tokens[token] = asked["account"]
        scope = asked.get("scope", "").replace(" ", ",") if self.granted is None else self.granted
        return await wire.say(_json({"access_token": token, "token_type": "bearer", "scope": scope, **self.extra}))

    async def _end(self, seen: Seen, wire: Wire) -> None:
        given = base64.b64decode((seen.header("authorization") or b"").removeprefix(b"Basic "))
        token = json.loads(seen.body or b"{}").get("access_token", "")
        if given != f"{CLIENT_ID}:{CLIENT_SECRET}".encode():
            return await wire.say(reply(401))
        if self.ending_status == 204:
            account = self.tokens.pop(token, None)
            if account is None:
                return await wire.say(reply(404))
            if b"/grant" in seen.target:  # all that the app was given for this account
                self.tokens = {one: whose for one, whose in self.tokens.items() if whose != account}
        return await wire.say(reply(self.ending_status))

    async def _who(self, seen: Seen, wire: Wire) -> None:
        token = (seen.header("authorization") or b"").decode().rpartition(" ")[2]
        login = self.tokens.get(token)
        if login is None:
            return await wire.say(reply(401, {"Content-Type": "application/json"}, b'{"message":"Bad credentials"}'))
        return await wire.say(_json({"login": login, "id": self.accounts[login]}))


def _json(document: dict[str, Any]) -> bytes:
    return reply(200, {"Content-Type": "application/json"}, json.dumps(document).encode())
