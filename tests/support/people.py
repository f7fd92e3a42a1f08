"""What a person does to sign in, through the pages."""

import base64
from typing import Any

from tests.support.authenticator import Authenticator, decoded
from tests.support.house import House
from tests.support.http import Reply
from tests.support.tab import Tab
from valetkey.server.principals.login.model import one_time_code
from valetkey.server.secret import SecretBytes

PASSWORD = "correct horse battery staple"
EMAIL = "alice@acme.com"


async def with_password(house: House, email: str = EMAIL, password: str = PASSWORD) -> Tab:
    """A signed-in browser of somebody who set a password."""
    tab = await house.signed_in(email)
    await tab.get("/account")
    await tab.submit("/account/password", {"password": password, "repeated": password})
    assert "Change the password" in tab.text
    return tab


class App:
    """The authenticator app on somebody's phone."""

    def __init__(self, house: House, groups: str) -> None:
        self.house = house
        self.secret = SecretBytes(base64.b32decode(groups.replace(" ", "")))

    def code(self, steps: int = 0) -> str:
        """What it shows now, or some steps away."""
        return one_time_code(self.secret, int(self.house.clock.now()) // 30 + steps)


async def with_app(house: House, tab: Tab) -> tuple[App, list[str]]:
    """Set up the app in a signed-in browser; return it and the recovery codes."""
    await tab.get("/account")
    await tab.submit("/account/one-time", {})
    app = App(house, shown_key(tab))
    await tab.submit("/account/one-time/confirm", {"code": app.code()})
    assert tab.reply is not None
    codes = [
        line.split("<code>")[1].split("</code>")[0] for line in tab.reply.body.decode().splitlines() if "<li>" in line
    ]
    return app, codes


def shown_key(tab: Tab) -> str:
    """The key the page shows."""
    assert tab.reply is not None
    return tab.reply.body.decode().split('class="key"><code>')[1].split("</code>")[0]


async def try_password(tab: Tab, email: str = EMAIL, password: str = PASSWORD, **more: Any) -> Reply:
    """Fill in the sign-in page."""
    await tab.get("/login")
    return await tab.submit("/login/password", {"email": email, "password": password}, follow=False, **more)


async def add_passkey(house: House, tab: Tab, name: str = "laptop") -> Authenticator:
    """Register a new authenticator in a signed-in browser."""
    await tab.get("/account")
    made = Authenticator(house.settings.origin)
    asked = (await tab.post("/account/passkeys/begin", {"csrf": tab.csrf})).json()
    await tab.get("/account")
    reply = await tab.submit(
        "/account/passkeys", {"step": asked["step"], "credential": made.create(asked["options"]), "name": name}
    )
    assert reply.status == 200, tab.text
    assert made.user_handle != b""
    assert decoded(asked["options"]["challenge"])
    return made


async def use_passkey(tab: Tab, made: Authenticator, target: str = "/login", **lies: Any) -> Reply:
    """Sign in with it."""
    await tab.get(target)
    page, csrf = tab.reply, tab.csrf
    asked = (await tab.post("/login/passkey/begin", {"csrf": csrf})).json()
    tab.reply = page
    form = {"step": asked["step"], "credential": made.get(asked["options"], **lies)}
    return await tab.submit("/login/passkey", form, follow=False)


def is_in(reply: Reply) -> bool:
    """Whether the answer puts the browser into a session."""
    return reply.status == 303 and any(
        n == "set-cookie" and v.startswith("__Host-valetkey=vkse_") for n, v in reply.headers
    )
