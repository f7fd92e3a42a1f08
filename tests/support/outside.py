"""Somebody outside: a host that publishes descriptions and keys as a test wants them, and asks at our doors."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from tests.support.house import House, open_house
from tests.support.http import Reply
from tests.support.tokens import ASSERTION_TYPE, OwnKey
from tests.support.upstream import Upstream

PATH = "/client.json"
MAX_AGE = {"Cache-Control": "max-age=600"}


class Publisher:
    """A client's host. `client_id` is the address of its description."""

    def __init__(self, host: Upstream) -> None:
        self.host = host
        self.key = OwnKey()

    @property
    def client_id(self) -> str:
        return f"{self.host.url}{PATH}"

    def described(self, **changed: Any) -> dict[str, Any]:
        """A right description, except for what is changed; None leaves a member out."""
        said = {
            "client_id": self.client_id,
            "client_name": "Reviewer",
            "redirect_uris": ["https://app.example.com/back"],
            "token_endpoint_auth_method": "none",
            **changed,
        }
        return {name: value for name, value in said.items() if value is not None}

    def publishes(self, headers: dict[str, str] | None = None, **changed: Any) -> None:
        """Publish the description from now on."""
        self.host.answers("GET", PATH, headers=headers or {}, json=self.described(**changed))

    def publishes_keys(self, path: str = "/keys", **keys: Any) -> str:
        """Publish its public keys; their address."""
        self.host.answers("GET", path, json=keys or self.key.jwks)
        return f"{self.host.url}{path}"

    @property
    def fetched(self) -> int:
        """How often the description was fetched."""
        return self.host.received("GET", PATH)

    async def names_itself(self, house: House, client_id: str | None = None) -> Reply:
        """A token request of a client that proves nothing: known public clients are told so, all others are unknown."""
        form = {"grant_type": "client_credentials", "client_id": client_id or self.client_id}
        return await house.call("POST", "/oauth/token", form=form)

    async def asserts(self, house: House, signed: str | None = None, **more: Any) -> Reply:
        """A token request with a client assertion; a proven client is told that it can do nothing by itself."""
        if signed is None:
            signed = self.key.assertion(self.client_id, house.settings.issuer, house.clock.now())
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": signed,
            **more,
        }
        return await house.call("POST", "/oauth/token", form=form)


def is_known(reply: Reply) -> bool:
    """Whether the client was found (and, with an assertion, proven), though this grant is not for it.

    It is not where its host cannot be asked: then nothing is said of it.
    """
    seen = reply.status, reply.json()["error"]
    asked_in_vain = (503, "temporarily_unavailable")
    assert seen in ((400, "unauthorized_client"), (401, "invalid_client"), asked_in_vain), reply.body
    assert (reply.header("retry-after") == "60") is (seen == asked_in_vain)
    return seen == (400, "unauthorized_client")


@contextlib.asynccontextmanager
async def open_outside(
    folder: Path, database_url: str | None = None, **settings: Any
) -> AsyncIterator[tuple[House, Publisher]]:
    """A deployment, and a publisher it may ask although both are on this machine."""
    async with Upstream() as host:
        local = (f"{host.host}:{host.port}",)
        async with open_house(folder, database_url=database_url, local=local, **settings) as house:
            yield house, Publisher(host)
