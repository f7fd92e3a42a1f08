"""Connecting an account by the API's own consent (RFC 6749 section 4.1, RFC 7636, RFC 9207).

1. `begin`: what is asked for is fixed, bound to the person and to this very browser, and she is sent to the API,
2. `finish`: the answer is spent before anything else, whatever comes of it, 3. it has to be this person's, in this
browser, for this app, from this issuer; only then 4. the code is redeemed, 5. whose account it is, is asked of the API,
and 6. the credential is sealed, as a new connection or in the place of the same account's last one. What is refused
after 4. is ended at the API.
"""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Journal
from valetkey.server.clock import Clock
from valetkey.server.connections.apps import store as apps
from valetkey.server.connections.apps.model import App
from valetkey.server.connections.apps.register import CALL_SECONDS, Apps
from valetkey.server.connections.by_code import store as codes
from valetkey.server.connections.by_code.model import State
from valetkey.server.connections.linking import store
from valetkey.server.connections.linking.discard import Discard
from valetkey.server.connections.linking.keep import Keep, Kept
from valetkey.server.connections.linking.model import (
    BEGIN_AGAIN,
    LINKING_SECONDS,
    MOST_BEGUN,
    Answer,
    Linking,
    Wanted,
    consent_address,
    wrong,
)
from valetkey.server.connections.token_calls import NoAnswer, ask, named
from valetkey.server.db.engine import Database
from valetkey.server.egress import Egress
from valetkey.server.errors import Denied, InvalidRequest, NotFound, TooMany, UpstreamFailed, ValetkeyError
from valetkey.server.ids import is_handle, new_handle, new_id
from valetkey.server.integrations.authorization import OAuth
from valetkey.server.integrations.model import Integration
from valetkey.server.integrations.token_endpoint import Granted, Refused
from valetkey.server.principals.model import User
from valetkey.server.secret import Secret
from valetkey.server.vault.mac import Mac
from valetkey.server.vault.ring import KeyRing

_WORDS: Final[Mapping[str, str]] = {
    "another_person": "Somebody else began to connect this account.",
    "another_browser": "This was begun in another browser.",
    "another_app": "This answer is for another API than the one that was asked.",
    "another_issuer": "This answer is not from the API that was asked.",
    "over": "This took too long, or was finished already.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """What was connected, and where to go on."""

    kept: Kept
    back: str


class Connect:
    """One per process."""

    def __init__(
        self,
        *,
        database: Database,
        journal: Journal,
        egress: Egress,
        registered: Apps,
        keep: Keep,
        discard: Discard,
        mac: Mac,
        ring: KeyRing,
        clock: Clock,
        catalogue: Mapping[str, Integration],
    ) -> None:
        self._database = database
        self._journal = journal
        self._egress = egress
        self._registered = registered
        self._keep = keep
        self._discard = discard
        self._mac = mac
        self._ring = ring
        self._clock = clock
        self._catalogue = catalogue

    async def app(self, integration: str, org: str) -> tuple[App, OAuth]:
        """By what accounts of an organization are connected at an API. Raises `NotFound` where there is nothing."""
        async with self._database.read() as db:
            app = await apps.at(db, org, integration, self._ring)
        way = None if app is None else app.way(self._catalogue)
        if app is None or way is None:
            raise NotFound(
                f"No app is registered at {integration[:64]}.",
                hint=f"An administrator registers one: valetkey integrations add {integration[:64]} --client-id …",
            )
        return app, way

    async def begin(self, wanted: Wanted) -> str:
        """Where to send her browser."""
        app, way = await self.app(wanted.at, wanted.by.org)
        linking, state = await self.opened(app, way, wanted)
        return consent_address(
            way,
            app,
            redirect_uri=self._registered.redirect_uri(app.id),
            state=state,
            challenge=_base64url(hashlib.sha256(self._verifier(state).encode()).digest()),
            asked=linking.asked,
        )

    async def opened(self, app: App, way: OAuth, unbound: Wanted) -> tuple[Linking, Secret]:
        """A linking that was begun and counted, and the one state by which an answer is known to be its own."""
        wanted = unbound.bound()
        by, code = wanted.by, wanted.code
        if wanted.shared and not by.is_administrator:
            raise Denied("Only an administrator shares a connection.", reason="not_administrator")
        if way.scopes and not way.chosen(wanted.permissions):
            raise InvalidRequest("Nothing would be asked for.", hint="Tick at least one permission.")
        now, state = int(self._clock.now()), new_handle("cs")
        linking = Linking(
            id=new_id("lnk"),
            org=by.org,
            user=by.id,
            session=wanted.session,
            app=app.id,
            asked=way.chosen(wanted.permissions),
            connection=wanted.connection,
            shared=wanted.shared,
            back=wanted.back,
            code="" if code is None else code.id,
            created_at=now,
            expires_at=now + LINKING_SECONDS if code is None else min(now + LINKING_SECONDS, code.expires_at),
        )
        if wanted.connection:
            await self.check_again(wanted.connection, by)
        async with self._database.write() as tx:
            begun, first_over = await store.begun_by(tx, by.id, now=now)
            if begun >= MOST_BEGUN:
                raise TooMany(
                    f"You began to connect accounts {begun} times within ten minutes.",
                    hint="Finish one of them in the browser you began it in, or wait and begin again.",
                    retry_after=max(1, first_over - now),
                )
            await store.add(tx, self._mac.mac("linking", "cs", state), linking)
        return linking, state

    async def check_again(self, connection: str, by: User) -> None:
        """Raises `NotFound` where it is not hers to connect again, or has ended."""
        await self._keep.check_again(connection, by)

    async def finish(self, app_id: str, answer: Answer, *, user: User | None, session: str) -> Finished:
        """What came back, kept. Raises the typed refusal; then nothing was, and no code was shown to anybody."""
        mac = self._mac.mac("linking", "cs", answer.state) if is_handle(answer.state.reveal(), "cs") else None
        async with self._database.read() as db:
            linking = None if mac is None else await store.by_mac(db, mac)
            app = None if linking is None else await apps.app(db, linking.app, self._ring)
        if linking is None:
            raise Denied("This was not begun here.", hint=BEGIN_AGAIN, reason="unknown_state")
        way = None if app is None else app.way(self._catalogue)
        now = self._clock.now()
        problem = wrong(
            linking, answer, way, app=app_id, user="" if user is None else user.id, session=session, now=now
        )
        if not await self.spent(linking, problem, app, by=user) or problem:
            words = _WORDS[problem or "over"]
            raise Denied(words, hint=BEGIN_AGAIN, reason=problem or "over", detail=linking.id)
        assert app is not None
        assert way is not None
        assert user is not None
        try:
            return await self._finished(linking, app, way, answer, by=user)
        except ValetkeyError as refusal:
            await self.told(linking, refusal)
            raise

    async def _finished(self, linking: Linking, app: App, way: OAuth, answer: Answer, *, by: User) -> Finished:
        title = self._catalogue[app.integration].title
        if answer.error or not answer.code:
            declined = f"You declined at {title}." if answer.error == "access_denied" else f"{title} gave no access."
            reason = "refused_there" if answer.error == "access_denied" else "no_access"
            raise Denied(declined, hint="Nothing was connected.", reason=reason, detail=answer.error[:64])
        granted = await self._redeemed(app, way, answer)
        return await self.kept(linking, app, way, granted, by=by)

    async def kept(self, linking: Linking, app: App, way: OAuth, granted: Granted, *, by: User) -> Finished:
        """What the API gave for a linking that was spent, kept; what is refused now is ended there."""
        try:
            kept = await self._keep(linking, app, way, granted, by=by)
        except ValetkeyError as refusal:
            reason = str(refusal.members.get("reason", refusal.code))
            await self._discard(linking, app, way, granted, reason=reason)
            raise
        return Finished(kept=kept, back=linking.back)

    async def told(self, linking: Linking, refusal: ValetkeyError) -> None:
        """Whoever began it elsewhere is told why nothing was connected."""
        if not linking.code:
            return
        reason = str(refusal.members.get("reason", refusal.code))
        state = State.DECLINED if reason == "refused_there" else State.REFUSED
        async with self._database.write() as tx:
            await codes.settle(tx, linking.code, state, now=int(self._clock.now()), reason=reason)

    async def spent(self, linking: Linking, problem: str, app: App | None, *, by: User | None) -> bool:
        """Use the linking up; False when it was before. Who began it and who came back both have a record."""
        now = int(self._clock.now())
        async with self._journal.change() as change:
            is_first = await store.spend(change.tx, linking, now=now)
            if is_first and problem and linking.code:
                await codes.settle(change.tx, linking.code, State.REFUSED, now=now, reason=problem)
            if is_first and problem:
                members = {
                    "linking": linking.id,
                    "integration": "" if app is None else app.integration,
                    "user": linking.user,
                    "by": "" if by is None else by.id,
                    "reason": problem,
                }
                change.record(Event.CONNECTION_LINK_REFUSED, linking.org, **members)
                if by is not None and by.id != linking.user:
                    # SECURITY: nobody of another organization learns who it was, only that something was tried.
                    members["user"] = linking.user if by.org == linking.org else ""
                    change.record(Event.CONNECTION_LINK_REFUSED, by.org, **members | {"for": by.id})
        return is_first

    async def _redeemed(self, app: App, way: OAuth, answer: Answer) -> Granted:
        title = self._catalogue[app.integration].title
        said = {
            "grant_type": "authorization_code",
            "code": answer.code,
            "redirect_uri": self._registered.redirect_uri(app.id),
        } | ({"code_verifier": self._verifier(answer.state)} if way.pkce else {})
        given = await ask(self._egress, way, app, said, now=self._clock.now(), timeout=CALL_SECONDS)
        match given:
            case Granted():
                return given
            case Refused():
                hint = "Begin again; if it stays so, an administrator asks `valetkey doctor` about the app."
                raise UpstreamFailed(f"{title} did not take its own code ({named(given.error)}).", hint=hint)
            case NoAnswer():
                raise UpstreamFailed(f"{title} did not answer properly.", hint=BEGIN_AGAIN)

    def _verifier(self, state: Secret) -> str:
        # NOTE: whoever sees the state in an address cannot tell the verifier: it takes the server's own key.
        return _base64url(self._mac.mac("linking-verifier", "cs", state))


def _base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
