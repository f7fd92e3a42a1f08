"""A program that signs in by somebody's browser, as `valetkey login` does, one step at a time."""

import base64
import hashlib
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from tests.support.house import USER_CREDENTIAL, House
from tests.support.http import Reply
from tests.support.tab import Tab

REDIRECT = "http://127.0.0.1:50123/callback"
STATE = "s" * 43
VERIFIER = "v" * 43


@dataclass
class CommandLine:
    """What the program knows, and what it does with it."""

    house: House
    name: str = "alices-laptop"
    redirect_uri: str = REDIRECT

    def address(self, **changes: str | None) -> str:
        """The address it opens; None leaves a parameter out."""
        digest = hashlib.sha256(VERIFIER.encode()).digest()
        asked: dict[str, str | None] = {
            "redirect_uri": self.redirect_uri,
            "state": STATE,
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
            "name": self.name,
        }
        return "/login/cli?" + urlencode({n: v for n, v in (asked | changes).items() if v is not None})

    async def code(self, tab: Tab) -> str:
        """She says yes."""
        await tab.get(self.address())
        return told(await tab.submit("/login/cli", button="Allow"))["code"]

    async def redeem(self, code: str, **changes: str) -> Reply:
        body = {"code": code, "code_verifier": VERIFIER, "redirect_uri": self.redirect_uri, **changes}
        return await self.house.call("POST", "/v1/login/cli", json=body)

    async def sign_in(self, tab: Tab) -> str:
        """The whole way; the credential."""
        reply = await self.redeem(await self.code(tab))
        assert reply.status == 201, reply.body
        return str(reply.json()["credential"])


def told(reply: Reply) -> dict[str, str]:
    """What the browser brings back to the program."""
    where = urlsplit(reply.header("location") or "")
    assert f"{where.scheme}://{where.netloc}{where.path}" == REDIRECT
    return dict(parse_qsl(where.query))


async def api_token(house: House, credential: str) -> Reply:
    """What the credential is worth at the token endpoint."""
    form = {"grant_type": USER_CREDENTIAL, "credential": credential}
    return await house.call("POST", "/oauth/token", form=form)


async def who_am_i(house: House, token: str) -> Any:
    return await house.call("GET", "/v1/whoami", headers={"authorization": f"Bearer {token}"})
