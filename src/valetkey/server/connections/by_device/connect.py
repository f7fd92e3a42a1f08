"""Connecting an account on another device (RFC 8628, as a client).

1. `begin`: the linking is bound to the person and to this very browser, as any other; the API gives a code for her eyes
   and one for ours, which is sealed,
2. `look`: hers, in this browser, not over; 3. the API is asked only when it is due, by one node at a time; 4. while it
   waits, so do we, as long as it says; 5. the linking is spent, whatever came; 6. what it gave is kept as in any other
   linking: whose account it is, is asked, and what is refused now is ended there.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from valetkey.server.clock import Clock
from valetkey.server.connections.apps import store as apps
from valetkey.server.connections.apps.model import App
from valetkey.server.connections.apps.register import CALL_SECONDS
from valetkey.server.connections.by_device import store
from valetkey.server.connections.by_device.model import (
    DEVICE_CODE,
    SLOWER_SECONDS,
    DeviceLinking,
    Waiting,
    backed_off,
    next_at,
)
from valetkey.server.connections.linking import store as linkings
from valetkey.server.connections.linking.connect import Connect, Finished
from valetkey.server.connections.linking.discard import Discard
from valetkey.server.connections.linking.model import Linking, Wanted
from valetkey.server.connections.token_calls import MOST_BYTES, NoAnswer, ask, named
from valetkey.server.db.engine import Database
from valetkey.server.egress import Egress
from valetkey.server.egress.url import parsed
from valetkey.server.errors import Denied, InvalidRequest, NotFound, UpstreamFailed, ValetkeyError
from valetkey.server.integrations.authorization import OAuth
from valetkey.server.integrations.device_endpoint import DeviceCode, device_request, read_device_answer
from valetkey.server.integrations.model import Integration
from valetkey.server.integrations.token_endpoint import Granted, Refused, UnreadableAnswer
from valetkey.server.principals.model import User
from valetkey.server.vault.ring import KeyRing

_OVER: Final = "This took too long, or was finished already."
_BEGIN_AGAIN: Final = "Begin again on the connections page."


class ConnectByDevice:
    """One per process."""

    def __init__(
        self,
        *,
        database: Database,
        egress: Egress,
        connect: Connect,
        discard: Discard,
        ring: KeyRing,
        clock: Clock,
        catalogue: Mapping[str, Integration],
    ) -> None:
        self._database = database
        self._egress = egress
        self._connect = connect
        self._discard = discard
        self._ring = ring
        self._clock = clock
        self._catalogue = catalogue

    async def begin(self, wanted: Wanted) -> str:
        """The id of what was begun, with a code of the API's to be shown. The same is refused as in `Connect.begin`."""
        app, way = await self._connect.app(wanted.at, wanted.by.org)
        title = self._catalogue[app.integration].title
        if not way.device_url:
            raise InvalidRequest(f"{title} gives no codes for another device.", hint="Connect in this browser.")
        linking, _ = await self._connect.opened(app, way, wanted)
        given = await self._given(app, way, linking)
        if not isinstance(given, DeviceCode):
            await self._spend(linking)
            why = named(given.error) if isinstance(given, Refused) else "no proper answer"
            raise UpstreamFailed(
                f"{title} gave no code for another device ({why}).",
                hint="Connect in this browser; some APIs give such codes once their app's settings allow it.",
            )
        now = self._clock.now()
        device = DeviceLinking(
            linking=linking,
            integration=app.integration,
            user_code=given.user_code,
            page=given.page,
            token_url=way.token_url,
            wait_seconds=given.wait_seconds,
            poll_at=next_at(now, given.wait_seconds),
            expires_at=min(linking.expires_at, int(now) + given.lasts_seconds),
        )
        async with self._database.write() as tx:
            await store.add(tx, device, code=given.code, ring=self._ring)
        return linking.id

    async def shown(self, linking_id: str, *, user: User, session: str) -> DeviceLinking:
        """What she began in this browser and is not over. Raises the typed refusal."""
        async with self._database.read() as db:
            device = await store.of_linking(db, linking_id, self._ring)
        # SECURITY: to anybody else it was never there, and nothing of theirs ends it.
        # Guarded by tests/flows/test_connecting_by_device.py::test_another_person_finds_nothing_there
        if device is None or device.linking.user != user.id:
            raise NotFound("There is no such code, or it is not yours.", hint=_BEGIN_AGAIN)
        # SECURITY: who reads her session's address elsewhere goes on nowhere with it.
        # Guarded by tests/flows/test_connecting_by_device.py::test_the_same_person_in_another_browser_asks_nothing
        if device.linking.session != session:
            raise Denied(
                "This was begun in another browser.",
                hint="Go on in that one, or begin again in this.",
                reason="another_browser",
            )
        if device.is_over(self._clock.now()):
            raise Denied(_OVER, hint=_BEGIN_AGAIN, reason="over", detail=linking_id)
        return device

    async def look(self, linking_id: str, *, user: User, session: str) -> Finished | Waiting:
        """Ask the API if it is due. Raises the typed refusal; then nothing was connected, and it is over."""
        device = await self.shown(linking_id, user=user, session=session)
        app, way = await self._still(device)
        now = self._clock.now()
        # SECURITY: nobody asks again while a question is out, and an answer puts the next one off; over all nodes.
        # Guarded by tests/flows/test_connecting_by_device.py::test_two_nodes_ask_as_often_as_one
        claimed = next_at(now + CALL_SECONDS, device.wait_seconds)
        if now < device.poll_at:
            return Waiting(device=device, said="not_due")
        async with self._database.write() as tx:
            is_mine = await store.claim(tx, device, now=int(now), until=claimed)
        if not is_mine:
            return Waiting(device=await self.shown(linking_id, user=user, session=session), said="not_due")
        said = {"grant_type": DEVICE_CODE, "device_code": store.open_code(device, self._ring).reveal()}
        given = await ask(self._egress, way, app, said, now=now, timeout=CALL_SECONDS)
        match given:
            case Granted():
                return await self._finished(device.linking, app, way, given, by=user)
            case Refused(error="authorization_pending"):
                return await self._waits(device, "authorization_pending", device.wait_seconds, claimed=claimed)
            case Refused(error="slow_down"):
                slower = device.wait_seconds + SLOWER_SECONDS
                return await self._waits(device, "slow_down", slower, claimed=claimed)
            case Refused():
                raise await self._refused(device.linking, app, given)
            case NoAnswer():
                slower = backed_off(device.wait_seconds)
                return await self._waits(device, "no_answer", slower, claimed=claimed, at_least=given.retry_after)

    async def stop(self, linking_id: str, *, user: User, session: str) -> Linking:
        """She will not go on: nothing that is agreed to there is connected here."""
        device = await self.shown(linking_id, user=user, session=session)
        if not await self._spend(device.linking):
            raise Denied(_OVER, hint=_BEGIN_AGAIN, reason="over")
        return device.linking

    async def _given(self, app: App, way: OAuth, linking: Linking) -> DeviceCode | Refused | NoAnswer:
        request = device_request(way, linking.asked, client_id=app.client_id, client_secret=app.secret)
        try:
            status, _, body = await self._egress.fetch(
                "POST",
                parsed(request.url),
                list(request.headers),
                body=request.body.reveal().encode(),
                max_bytes=MOST_BYTES,
                timeout=CALL_SECONDS,
            )
            return read_device_answer(way, status, body)
        except (UpstreamFailed, InvalidRequest, UnreadableAnswer):
            return NoAnswer(problem="no_answer", may_have_acted=False)

    async def _still(self, device: DeviceLinking) -> tuple[App, OAuth]:
        """The app as it is now. What is redeemed elsewhere than it began is not redeemed."""
        async with self._database.read() as db:
            app = await apps.app(db, device.linking.app, self._ring)
        way = None if app is None else app.way(self._catalogue)
        if app is None or way is None or way.token_url != device.token_url:
            await self._spend(device.linking)
            raise Denied("The app this was begun with is no longer the same.", hint=_BEGIN_AGAIN, reason="another_app")
        return app, way

    async def _waits(
        self, device: DeviceLinking, said: str, wait_seconds: int, *, claimed: int, at_least: int = 0
    ) -> Waiting:
        at = next_at(self._clock.now(), max(wait_seconds, at_least))
        later = replace(device, wait_seconds=wait_seconds, poll_at=at)
        async with self._database.write() as tx:
            await store.put_off(tx, later, claimed=claimed)
        return Waiting(device=later, said=said)

    async def _finished(self, linking: Linking, app: App, way: OAuth, granted: Granted, *, by: User) -> Finished:
        try:
            # SECURITY: whatever is looked at twice, or was stopped meanwhile, is kept once or not at all.
            # Guarded by tests/flows/test_connecting_by_device.py::test_what_was_stopped_meanwhile_is_ended_there
            if not await self._spend(linking):
                await self._discard(linking, app, way, granted, reason="over")
                raise Denied(_OVER, hint="Nothing was connected. " + _BEGIN_AGAIN, reason="over")
            return await self._connect.kept(linking, app, way, granted, by=by)
        except ValetkeyError as refusal:
            await self._connect.told(linking, refusal)
            raise

    async def _refused(self, linking: Linking, app: App, given: Refused) -> ValetkeyError:
        title = self._catalogue[app.integration].title
        refusal: ValetkeyError
        match given.error:
            case "access_denied":
                refusal = Denied(f"You declined at {title}.", hint="Nothing was connected.", reason="refused_there")
            case "expired_token":
                words = f"The code of {title} was not entered in time."
                refusal = Denied(words, hint="Nothing was connected. " + _BEGIN_AGAIN, reason="expired_there")
            case error:
                hint = "Begin again; if it stays so, an administrator asks `valetkey doctor` about the app."
                refused = f"{title} did not take its own code ({named(error)})."
                refusal = UpstreamFailed(refused, hint=hint)
        await self._spend(linking)
        await self._connect.told(linking, refusal)
        return refusal

    async def _spend(self, linking: Linking) -> bool:
        """Use it up, once; the device code goes with it."""
        async with self._database.write() as tx:
            is_first = await linkings.spend(tx, linking, now=int(self._clock.now()))
            await store.forget(tx, linking.id)
            return is_first
