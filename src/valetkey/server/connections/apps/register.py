"""Registering an app at an API: once for each organization, by an administrator, and trying whether the API knows it.

Every app has a redirect address of its own, so that an answer meant for one is never taken for another's (OA-11).
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final, Literal

from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Journal
from valetkey.server.clock import Clock
from valetkey.server.connections.apps import store
from valetkey.server.connections.apps.model import App
from valetkey.server.connections.token_calls import NoAnswer, ask
from valetkey.server.db.engine import Database
from valetkey.server.egress import Egress
from valetkey.server.errors import Conflict, Denied, InvalidRequest, NotFound
from valetkey.server.ids import is_id, new_id
from valetkey.server.integrations.authorization import OAuth
from valetkey.server.integrations.model import Integration
from valetkey.server.integrations.token_endpoint import Granted
from valetkey.server.principals.model import User
from valetkey.server.secret import Secret
from valetkey.server.vault.ring import KeyRing

CALL_SECONDS: Final = 10.0
_SENDABLE: Final = re.compile(r"[\x21-\x7e]{1,1024}")
_UNKNOWN_CLIENT: Final = frozenset(
    {"invalid_client", "invalid_client_id", "bad_client_secret", "incorrect_client_credentials", "unauthorized_client"}
)
_KNOWN_CLIENT: Final = frozenset({"invalid_grant", "bad_verification_code", "invalid_code", "code_already_used"})

Verdict = Literal["accepted", "refused", "unclear"]


class Apps:
    """One per process. `base` is our own address."""

    def __init__(
        self,
        *,
        database: Database,
        journal: Journal,
        egress: Egress,
        ring: KeyRing,
        clock: Clock,
        catalogue: Mapping[str, Integration],
        base: str,
    ) -> None:
        self._database = database
        self._journal = journal
        self._egress = egress
        self._ring = ring
        self._clock = clock
        self._catalogue = catalogue
        self._base = base

    def redirect_uri(self, app_id: str) -> str:
        """The exact address to register at the API."""
        return f"{self._base}/connect/{app_id}/callback"

    async def add(self, integration: str, *, client_id: str, secret: Secret | None, kind: str, by: User) -> App:
        """Register it; with the client id it has already, replace its secret."""
        _administrator(by)
        way = self._described(integration, kind)
        if not _SENDABLE.fullmatch(client_id) or (secret is not None and not _SENDABLE.fullmatch(secret.reveal())):
            raise InvalidRequest("A client id and a client secret are printable characters without spaces.")
        if secret is None and way.client_authentication != "none":
            raise InvalidRequest("This API gives its apps a client secret.", hint="Use --client-secret-stdin.")
        async with self._database.read() as db:
            known = await store.at(db, by.org, integration, self._ring)
        if known is not None and (known.client_id, known.kind) == (client_id, kind):
            changed = replace(known, secret=secret, generation=known.generation + 1)
            async with self._journal.change() as change:
                if not await store.replace_secret(change.tx, changed, self._ring):
                    raise Conflict("This app was changed at the same moment.", hint="Look at it again, then repeat.")
                change.record(Event.APP_CHANGED, by.org, app=changed.id, integration=integration, by=by.id)
            return changed
        app = App(id=new_id("app"), org=by.org, integration=integration, client_id=client_id, secret=secret, kind=kind)
        async with self._journal.change() as change:
            await store.add(change.tx, app, by=by.id, ring=self._ring, now=int(self._clock.now()))
            change.record(
                Event.APP_REGISTERED, by.org, app=app.id, integration=integration, client_id=client_id, by=by.id
            )
        return app

    async def remove(self, app_id: str, *, by: User) -> None:
        """Forget it and its secret. What was connected by it works until its credential ends, and not beyond."""
        app = await self._own(app_id, by)
        async with self._journal.change() as change:
            if await store.remove(change.tx, app.id):
                change.record(Event.APP_REMOVED, by.org, app=app.id, integration=app.integration, by=by.id)

    async def of(self, org: str) -> list[App]:
        """The apps of an organization, without their secrets."""
        async with self._database.read() as db:
            return [app for app in await store.of_org(db, org) if app.way(self._catalogue) is not None]

    async def tried(self, app_id: str, *, by: User) -> Verdict:
        """Whether the API knows this app by its secret: it is shown a code that nobody gave out."""
        app = await self._own(app_id, by)
        way = app.way(self._catalogue)
        if way is None:
            return "unclear"
        said = {
            "grant_type": "authorization_code",
            "code": "valetkey-asks-whether-this-app-is-known",
            "redirect_uri": self.redirect_uri(app.id),
        } | ({"code_verifier": "v" * 43} if way.pkce else {})
        answer = await ask(self._egress, way, app, said, now=self._clock.now(), timeout=CALL_SECONDS)
        if isinstance(answer, NoAnswer | Granted):
            return "unclear"
        if answer.error in _UNKNOWN_CLIENT:
            return "refused"
        return "accepted" if answer.error in _KNOWN_CLIENT else "unclear"

    def _described(self, integration: str, kind: str) -> OAuth:
        known = sorted(i.name for i in self._catalogue.values() if i.oauth is not None)
        found = self._catalogue.get(integration)
        if found is None or found.oauth is None:
            raise NotFound(
                f"No API called {integration[:64]} is connected by an app.", hint=f"Such are: {', '.join(known)}."
            )
        try:
            return found.oauth.variant(kind)
        except KeyError:
            kinds = ", ".join(sorted(found.oauth.variants)) or "none"
            raise InvalidRequest(f"{found.title} has no such kind of app.", hint=f"Kinds: {kinds}.") from None

    async def _own(self, app_id: str, by: User) -> App:
        _administrator(by)
        async with self._database.read() as db:
            app = await store.app(db, app_id, self._ring) if is_id(app_id, "app") else None
        if app is None or app.org != by.org:
            raise NotFound("There is no such app, or it is not yours.")
        return app


def _administrator(by: User) -> None:
    if not by.is_administrator:
        raise Denied("Only an administrator registers apps.", reason="not_administrator")
