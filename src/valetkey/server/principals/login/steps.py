"""Steps of signing in that take two requests: kept here, five minutes, once, for the browser that began them.

The handle goes through the browser; nothing security-relevant is ever taken back from it (OA-20).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from valetkey.server.clock import Clock
from valetkey.server.db.engine import Database
from valetkey.server.errors import Denied
from valetkey.server.ids import is_handle, new_handle
from valetkey.server.principals.login import store
from valetkey.server.secret import Secret
from valetkey.server.vault.mac import Mac

STEP_SECONDS = 300

Kind = Literal["second", "passkey", "new-passkey", "signature", "sso", "cli"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What was remembered when it began."""

    user: str | None
    facts: Mapping[str, Any]


class Steps:
    """One per process."""

    def __init__(self, database: Database, mac: Mac, clock: Clock) -> None:
        self._database = database
        self._mac = mac
        self._clock = clock

    async def begin(self, kind: Kind, *, browser: str, user: str | None = None, **facts: Any) -> Secret:
        """Remember `facts` for this browser; return the handle that finds them again."""
        handle = new_handle("st")
        now = int(self._clock.now())
        async with self._database.write() as tx:
            await store.add_step(
                tx,
                self._mac.mac("sign-in-step", "st", handle),
                kind=kind,
                user=user,
                facts={"browser": browser, **facts},
                now=now,
                expires_at=now + STEP_SECONDS,
            )
        return handle

    async def look(self, kind: Kind, handle: Secret, *, browser: str) -> Step:
        """The step, still to be spent. Raises `Denied` like `spend`."""
        if not is_handle(handle.reveal(), "st"):
            raise _over()
        mac = self._mac.mac("sign-in-step", "st", handle)
        async with self._database.read() as db:
            found = await store.step(db, mac, kind=kind, now=int(self._clock.now()))
        return _of(found, browser)

    async def spend(self, kind: Kind, handle: Secret, *, browser: str) -> Step:
        """The step, once. Raises `Denied` for one that is unknown, over, used, or another browser's."""
        if not is_handle(handle.reveal(), "st"):
            raise _over()
        mac = self._mac.mac("sign-in-step", "st", handle)
        async with self._database.write() as tx:
            found = await store.use_step(tx, mac, kind=kind, now=int(self._clock.now()))
        return _of(found, browser)


def _of(found: tuple[str | None, dict[str, Any]] | None, browser: str) -> Step:
    # SECURITY: who brings it must be who began it, or a stranger signs somebody in as themselves (OA-10, OA-12).
    # Guarded by tests/flows/test_sso.py::test_oa_12_what_one_browser_began_no_other_finishes
    if found is None or found[1].pop("browser", None) != browser:
        raise _over()
    return Step(user=found[0], facts=found[1])


def _over() -> Denied:
    return Denied(
        "This step of signing in is over, was used, or began in another browser.",
        reason="step",
        hint="Start again from the sign-in page.",
    )
