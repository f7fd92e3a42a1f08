"""A deployment whose GitHub connection has a credential that ends, and the hostile provider that renews it."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from tests.support.behind import ALLOWED, Behind, open_behind
from tests.support.hostile_provider import HostileProvider, install
from tests.support.house import House
from tests.support.http import Reply
from tests.support.nodes import pause
from tests.support.seen import Seen
from tests.support.upstream import Wire, reply
from valetkey.server.app import App
from valetkey.server.connections import store as connections
from valetkey.server.connections.apps import store as apps
from valetkey.server.connections.apps.model import App as RegisteredApp
from valetkey.server.connections.refreshing import store
from valetkey.server.connections.refreshing.model import Refreshing, begun
from valetkey.server.ids import new_id
from valetkey.server.integrations.authorization import OAuth
from valetkey.server.secret import Secret

LASTS = 1200


@dataclass
class Refreshable:
    """`connection` is Alice's; its family at the provider is called `a`."""

    behind: Behind
    provider: HostileProvider
    connection: str

    @property
    def house(self) -> House:
        return self.behind.house

    async def call(self, method: str = "GET", path: str = ALLOWED, **more: Any) -> Reply:
        """A call with a token that lives, whatever became of the clock."""
        token = await self.behind.agent.token(self.behind.task["task_token"])
        return await self.house.gateway(token, method, path, **more)

    async def row(self, connection: str = "") -> Refreshing:
        """What the database holds of renewing it."""
        app = self.house.app
        async with app.database.read() as db:
            found = await store.current(db, connection or self.connection, app.refresh._ring)
        assert found is not None
        assert found[1] is not None
        return found[1]

    def expire(self) -> None:
        """Let the credential end, and nothing else."""
        self.house.clock.advance(LASTS)

    async def recorded(self) -> list[tuple[str, str]]:
        """What the audit trail says of renewing: event, problem."""
        await self.house.alice.sign_in()
        found = await self.house.events(
            "connection.refreshed", "connection.refresh-failed", "connection.needs-reconnect"
        )
        return [(r["event"].partition(".")[2], r.get("problem", "")) for r in found]


def describe(app: App, oauth: OAuth, name: str = "github") -> None:
    """Have the API's credentials given out by this authorization server."""
    catalogue = app.catalogue
    described = dataclasses.replace(catalogue.built_in[name], oauth=oauth)
    cast(dict[str, Any], catalogue.built_in)[name] = described
    catalogue._replace({})


async def begin(
    app: App, provider: HostileProvider, connection: str, *, refresh: str | None, app_id: str = "", lasts: int = LASTS
) -> None:
    """From now on the connection's credential ends, and this renews it."""
    now = app.clock.now()
    ring = app.refresh._ring
    async with app.database.write() as tx:
        found = await connections.connection(tx, connection)
        assert found is not None
        if not app_id:
            app_id = new_id("app")
            made = RegisteredApp(
                id=app_id,
                org=found.facts.org,
                integration=found.facts.integration,
                client_id="client",
                secret=Secret("app-secret"),
            )
            await apps.add(tx, made, by="usr_test", ring=ring, now=int(now))
        row = begun(connection, app_id, provider.token_url, lasts_seconds=lasts, now=now, chance=0.5)
        await store.add(tx, row, found, token=None if refresh is None else Secret(refresh), ring=ring)


@contextlib.asynccontextmanager
async def open_refreshable(folder: Path, database_url: str | None) -> AsyncIterator[Refreshable]:
    """Open it. Nothing is renewed in the background: a test runs a round of that itself."""
    async with open_behind(folder, database_url=database_url) as behind:
        app = behind.house.app
        await pause(app)
        provider = install(behind.up)
        provider.lasts_seconds = LASTS
        describe(app, provider.oauth())
        reply_ = await behind.house.alice.call("GET", "/v1/connections")
        [connection] = [c["id"] for c in reply_.json()["data"]]
        access, refresh = provider.give("a")
        await replace_credential(app, connection, access)
        await begin(app, provider, connection, refresh=refresh)
        guard(behind, provider)
        yield Refreshable(behind, provider, connection)


async def replace_credential(app: App, connection: str, access: str) -> None:
    """Put the provider's credential where the pasted one was."""
    ring = app.refresh._ring
    async with app.database.write() as tx:
        found = await connections.connection(tx, connection)
        assert found is not None
        await connections.replace_credential(tx, found, 1, Secret(access), ring)
    app.authorities.forget(frozenset({connection}))


def guard(behind: Behind, provider: HostileProvider) -> None:
    """The API answers 401 to every credential that is not good, to its own calls and to look-ups."""

    def guarded(script: Any) -> Any:
        async def run(seen: Seen, wire: Wire) -> None:
            if not provider.accepts(seen):
                await wire.say(reply(401, {"Content-Type": "application/json"}, b'{"message": "Bad credentials"}'))
            elif isinstance(script, bytes):
                await wire.say(script)
            else:
                await script(seen, wire)

        return run

    up = behind.up
    up._table = {key: script if key == ("POST", b"/token") else guarded(script) for key, script in up._table.items()}
    up._otherwise = guarded(up._otherwise)


async def together(count: int, one: Any) -> list[Any]:
    """So many at once."""
    return await asyncio.gather(*(one() for _ in range(count)))
