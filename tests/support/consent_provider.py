"""A GitHub where people consent: codes that work once, for their client, address and verifier, and books of it all.

It has no pages: a test says who consents to the address a browser was sent to, and gets the address to come back to.
On another device a test types what it saw (`typed_in`), as anybody may who saw it.
"""

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from tests.support.seen import Seen
from tests.support.upstream import Upstream, Wire, reply

CLIENT_ID = "Iv1.acme"
CLIENT_SECRET = "s3cret-of-the-app"


DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"


@dataclass
class Device:
    """A code that was given for another device, and what became of it."""

    code: str
    user_code: str
    scope: str
    asked_at: float
    wait: int
    account: str = ""
    error: str = "authorization_pending"


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
    now: Callable[[], float] = float
    """The time there; who asks for a device before it has passed `wait` since the last answer is told so."""
    devices: list[Device] = field(default_factory=list)
    given: dict[str, Any] = field(default_factory=dict)
    """What it says of a device besides, or otherwise."""
    asked: list[tuple[float, str]] = field(default_factory=list)
    """When it was asked after a device, and what it said."""
    silent: bytes | None = None
    """What it says to every question after a device instead of an answer."""

    def install(self) -> "ConsentProvider":
        self.up.answers("POST", "/login/oauth/access_token", script=self._token)
        self.up.answers("POST", "/login/device/code", script=self._device)
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

    def typed_in(self, user_code: str, *, account: str = "alice", error: str = "") -> None:
        """Somebody signed in there as `account` types the code and agrees; with `error`, that becomes of it instead."""
        device = next(d for d in self.devices if d.user_code == user_code)
        device.account, device.error = account, error

    async def _device(self, seen: Seen, wire: Wire) -> None:
        said = {name: values[0] for name, values in parse_qs(seen.body.decode()).items()}
        if said.get("client_id") != CLIENT_ID:
            return await wire.say(_json({"error": "incorrect_client_credentials"}))
        number = len(self.devices) + 1
        device = Device(f"practice-device-{number:04}", f"WDJB-{number:04}", said.get("scope", ""), self.now(), 5)
        self.devices.append(device)
        page = f"{self.up.url}/login/device"
        answer = {"device_code": device.code, "user_code": device.user_code, "verification_uri": page}
        return await wire.say(_json({**answer, "expires_in": 900, "interval": device.wait, **self.given}))

    async def _after(self, device_code: str, wire: Wire) -> None:
        device = next((d for d in self.devices if d.code == device_code), None)
        now = self.now()
        error = "incorrect_device_code" if device is None else device.error
        if device is not None and now - device.asked_at < device.wait:
            error, device.wait = "slow_down", device.wait + 5
        if device is not None:
            device.asked_at = now
        self.asked.append((now, error))
        if self.silent is not None:
            return await wire.say(self.silent)
        if device is None or error:
            return await wire.say(_json({"error": error}))
        self.devices.remove(device)
        return await wire.say(self._given_to(device.account, device.scope))

    def _given_to(self, account: str, asked: str) -> bytes:
        token = f"gho_practice{len(self.tokens) + 1:04}"
        self.tokens[token] = account
        scope = asked.replace(" ", ",") if self.granted is None else self.granted
        return _json({"access_token": token, "token_type": "bearer", "scope": scope, **self.extra})

    async def _token(self, seen: Seen, wire: Wire) -> None:
        said = {name: values[0] for name, values in parse_qs(seen.body.decode()).items()}
        if said.get("grant_type") == DEVICE_CODE:
            return await self._after(said.get("device_code", ""), wire)
        self.redeemed += 1
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
        return await wire.say(self._given_to(asked["account"], asked.get("scope", "")))

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
