"""A client for a story that asks somewhere else than where it is answered: a device, or over the backchannel."""

import json
from dataclasses import dataclass
from typing import Any

from tests.support.house import GITHUB, House
from tests.support.http import Reply
from tests.support.oauth import READ, Client, a_client
from tests.support.tab import Tab

DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
CIBA = "urn:openid:params:grant-type:ciba"
GRANTS = ["authorization_code", "refresh_token", DEVICE_CODE, CIBA]


@dataclass
class Elsewhere:
    """One client. `started` is what its last request was answered."""

    client: Client
    started: Any = None

    @property
    def house(self) -> House:
        return self.client.house

    def asks(self, **more: Any) -> dict[str, Any]:
        """What both kinds ask; None leaves a parameter out."""
        asked = {"resource": GITHUB, "authorization_details": json.dumps(READ), "purpose": "review", **more}
        return {name: value for name, value in asked.items() if value is not None}

    async def begin(self, **more: Any) -> Reply:
        """Ask as a device."""
        reply = await self.client.post("/oauth/device_authorization", self.asks(**more))
        self.started = reply.json() if reply.status == 200 else None
        return reply

    async def ask(self, **more: Any) -> Reply:
        """Ask over the backchannel, for Alice unless told otherwise."""
        hints = {"login_hint_token", "id_token_hint"} & more.keys()
        who = {} if hints or "login_hint" in more else {"login_hint": "alice@acme.com"}
        reply = await self.client.post("/oauth/backchannel", self.asks(**who, **more))
        self.started = reply.json() if reply.status == 200 else None
        return reply

    async def poll(self, **more: Any) -> Reply:
        """Come for the answer."""
        started = self.started
        form = (
            {"grant_type": DEVICE_CODE, "device_code": started["device_code"]}
            if "device_code" in started
            else {"grant_type": CIBA, "auth_req_id": started["auth_req_id"]}
        )
        return await self.client.post("/oauth/token", form | more)

    async def polls(self) -> str:
        """Come for the answer after the interval; the error, or nothing."""
        self.house.clock.advance(5)
        return error_of(await self.poll())

    async def typed(self, tab: Tab, code: str | None = None) -> Reply:
        """A person types the code."""
        await tab.get("/device")
        return await tab.submit("/device", {"code": code or self.started["user_code"]})

    async def allowed(self, tab: Tab) -> Reply:
        """A person goes all the way with her device."""
        await self.typed(tab)
        await tab.submit("/device/confirm", button="Yes, it is mine")
        return await tab.submit("/requests/answer", button="Allow")

    async def answered(self, tab: Tab, button: str = "Allow") -> Reply:
        """A person answers what waits for her."""
        await tab.get("/requests")
        await tab.get(next(link for link in tab.links() if link.startswith("/requests/req_")))
        return await tab.submit("/requests/answer", button=button)


def error_of(reply: Reply) -> str:
    """The OAuth error of an answer, or nothing."""
    return str(reply.json().get("error", "")) if reply.status != 200 else ""


async def elsewhere(
    house: House, name: str = "pr-reviewer-v2", *, connect: bool = True, **registered: Any
) -> Elsewhere:
    """An owned agent of Alice's that may ask in every way."""
    registered.setdefault("grant_types", GRANTS)
    return Elsewhere(await a_client(house, name, connect=connect, **registered))
