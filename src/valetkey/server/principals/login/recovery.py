"""Recovery codes: ten, shown once, each good for one sign-in in place of the authenticator app's code."""

import secrets
from typing import Final

from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Journal
from valetkey.server.clock import Clock
from valetkey.server.principals.login import store
from valetkey.server.principals.model import User
from valetkey.server.secret import Secret
from valetkey.server.vault.mac import Mac

HOW_MANY: Final = 10
_LETTERS: Final = "0123456789abcdefghjkmnpqrstvwxyz"  # no letter that looks like a digit
_LENGTH: Final = 16  # 80 bits
_READ_AS: Final = str.maketrans({"i": "1", "l": "1", "o": "0", "-": None, " ": None})


class Recovery:
    """One per process."""

    def __init__(self, journal: Journal, mac: Mac, clock: Clock) -> None:
        self._journal = journal
        self._mac = mac
        self._clock = clock

    async def renew(self, user: User) -> tuple[Secret, ...]:
        """Ten fresh codes in place of all earlier ones. This is the only time they can be read."""
        codes = ["".join(secrets.choice(_LETTERS) for _ in range(_LENGTH)) for _ in range(HOW_MANY)]
        macs = [self._of(user, code) for code in codes]
        async with self._journal.change() as change:
            await store.replace_recovery_codes(change.tx, user.id, macs, now=int(self._clock.now()))
            change.record(Event.LOGIN_WAY_ADDED, user.org, user=user.id, way="recovery", again=False)
        return tuple(Secret("-".join(code[at : at + 4] for at in range(0, _LENGTH, 4))) for code in codes)

    async def use(self, user: User, text: str) -> bool:
        """Spend a code: True once. Spaces, dashes and case do not matter (UI-07)."""
        code = text.lower().translate(_READ_AS)
        if len(code) != _LENGTH or not set(code) <= set(_LETTERS):
            return False
        async with self._journal.change() as change:
            spent = await store.use_recovery_code(change.tx, user.id, self._of(user, code), now=int(self._clock.now()))
            if spent:
                change.record(Event.RECOVERY_CODE_USED, user.org, user=user.id)
        return spent

    def _of(self, user: User, code: str) -> bytes:
        return self._mac.mac("recovery-code", "rc", Secret(f"{user.id} {code}"))
