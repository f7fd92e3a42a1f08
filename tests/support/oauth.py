"""An OAuth client for a story: sends somebody to authorize, and redeems what came back."""

import base64
import hashlib
import json
import secrets
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from tests.support.house import GITHUB, House, Robot
from tests.support.http import Reply
from tests.support.tab import Tab

CALLBACK = "https://agent.example/callback"
READ = [{"type": "github", "actions": ["repo:read"], "resources": ["acme-corp/backend"]}]


def s256(verifier: str) -> str:
    """RFC 7636 section 4.2."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


@dataclass
class Client:
    """One client and its present request."""

    house: House
    robot: Robot
    redirect_uri: str = CALLBACK
    is_public: bool = False
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48))
    state: str = field(default_factory=lambda: secrets.token_urlsafe(12))

    def parameters(self, **more: Any) -> dict[str, Any]:
        """A whole authorization request; None leaves a parameter out."""
        asked: dict[str, Any] = {
            "response_type": "code",
            "client_id": self.robot.id,
            "redirect_uri": self.redirect_uri,
            "state": self.state,
            "code_challenge": s256(self.verifier),
            "code_challenge_method": "S256",
            "resource": GITHUB,
            "authorization_details": READ,
            "purpose": "review the pull request",
            **more,
        }
        if isinstance(asked["authorization_details"], list):
            asked["authorization_details"] = json.dumps(asked["authorization_details"])
        return {name: value for name, value in asked.items() if value is not None}

    def address(self, **more: Any) -> str:
        """Where the client sends the browser."""
        return "/oauth/authorize?" + urlencode(self.parameters(**more), doseq=True)

    async def authorize(self, tab: Tab, **more: Any) -> Reply:
        """Send a browser off; ends on a page, or where the server sends it to the client."""
        return await tab.get(self.address(**more))

    async def allowed(self, tab: Tab, changes: dict[str, Any] | None = None, **more: Any) -> dict[str, str]:
        """Through the consent page to what the client is told."""
        reply = await self.authorize(tab, **more)
        if reply.header("location") is None:
            assert reply.status == 200, reply.body
            reply = await tab.submit("/consent", changes, button="Allow")
        return self.told(reply)

    def told(self, reply: Reply) -> dict[str, str]:
        """What a redirect to the client says."""
        where = reply.header("location") or ""
        assert reply.status in (302, 303), (reply.status, reply.body)
        assert where.startswith(self.redirect_uri), where
        return {name: values[0] for name, values in parse_qs(urlsplit(where).query).items()}

    async def redeem(self, code: str, **more: Any) -> Reply:
        """The token request."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.redirect_uri,
            "code_verifier": self.verifier,
            **more,
        }
        return await self.post("/oauth/token", form)

    async def refresh(self, token: str, **more: Any) -> Reply:
        """The refresh request."""
        return await self.post("/oauth/token", {"grant_type": "refresh_token", "refresh_token": token, **more})

    async def post(self, path: str, form: dict[str, Any]) -> Reply:
        """A form, authenticated as this client is."""
        form = {name: value for name, value in form.items() if value is not None}
        if self.is_public:
            return await self.house.call("POST", path, form={"client_id": self.robot.id, **form})
        return await self.house.call("POST", path, headers=self.robot.basic, form=form)

    async def tokens(self, tab: Tab, changes: dict[str, Any] | None = None, **more: Any) -> Any:
        """All the way to tokens."""
        told = await self.allowed(tab, changes, **more)
        reply = await self.redeem(told["code"])
        assert reply.status == 200, reply.body
        return reply.json()


async def a_client(house: House, name: str = "pr-reviewer-v2", *, connect: bool = True, **registered: Any) -> Client:
    """An owned agent of Alice's, registered as a client, and her GitHub connected."""
    robot = await house.agent(name)
    registered.setdefault("redirect_uris", [CALLBACK])
    await house.alice.does("PUT", f"/v1/agents/{robot.id}/client", **registered)
    if connect:
        await house.connect()
    is_public = registered.get("token_endpoint_auth_method") == "none"
    return Client(house, robot, redirect_uri=registered["redirect_uris"][0], is_public=is_public)
