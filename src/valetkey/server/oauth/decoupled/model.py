"""A request that is answered somewhere else than where it was made, and what a client that asks for the answer is told.

Pure: time comes in. One request goes pending → (confirmed) → approved → redeemed, or to denied; never back. A device
request is confirmed by who typed its code; a backchannel request names its person from the start.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from valetkey.server.errors import InvalidRequest
from valetkey.server.oauth.agreed import Agreed
from valetkey.server.oauth.form import Form

SECONDS: Final = 600
INTERVAL: Final = 5
LONGEST_INTERVAL: Final = 60
LONGEST_MESSAGE: Final = 100
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]{16,1024}=*")


class Kind(StrEnum):
    DEVICE = "device"
    BACKCHANNEL = "backchannel"


class Status(StrEnum):
    PENDING = "pending"
    CONFIRMED = "confirmed"  # a device request whose person said that it is theirs
    APPROVED = "approved"
    DENIED = "denied"
    REDEEMED = "redeemed"


OPEN: Final = (Status.PENDING, Status.CONFIRMED)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoupledRequest:
    """`form` is what was asked, read again at every step; `origin` the address it was asked from.

    `user` is whom it is for: known from the start, or who typed the code. `task` is what its redemption opened at
    `used_at`, and `answered_at` when that was ready to be sent.
    """

    id: str
    kind: Kind
    client: str
    user: str | None
    form: Form
    message: str
    status: Status
    outcome: Agreed | None
    interval: int
    polled_at: int
    origin: str
    created_at: int
    expires_at: int
    task: str | None = None
    used_at: int | None = None
    answered_at: int | None = None

    def is_open(self, now: float) -> bool:
        """Whether it still waits for its person."""
        return self.status in OPEN and now < self.expires_at


class Verdict(StrEnum):
    """What a client is told that asks for the answer, in the words of RFC 8628 section 3.5 and CIBA section 11."""

    READY = "ready"
    PENDING = "authorization_pending"
    SLOW_DOWN = "slow_down"
    DENIED = "access_denied"
    EXPIRED = "expired_token"
    SPENT = "grant"


def judged(request: DecoupledRequest, now: int) -> tuple[Verdict, int]:
    """The verdict, and the interval that holds from now on: once too fast, five seconds longer to the end.

    >>> from dataclasses import replace
    >>> r = DecoupledRequest(id="", kind=Kind.DEVICE, client="", user=None, form=Form({}, {}), message="", origin="",
    ...     status=Status.PENDING, outcome=None, interval=5, polled_at=100, created_at=90, expires_at=690)
    >>> judged(r, 105), judged(r, 104), judged(replace(r, status=Status.DENIED), 101), judged(r, 690)
    ((<Verdict.PENDING: 'authorization_pending'>, 5), (<Verdict.SLOW_DOWN: 'slow_down'>, 10), \
(<Verdict.DENIED: 'access_denied'>, 5), (<Verdict.EXPIRED: 'expired_token'>, 5))
    """
    if request.status is Status.REDEEMED:
        return Verdict.SPENT, request.interval
    if now >= request.expires_at:
        return Verdict.EXPIRED, request.interval
    if request.status is Status.DENIED:
        return Verdict.DENIED, request.interval
    if request.status is Status.APPROVED:
        return Verdict.READY, request.interval
    if now - request.polled_at < request.interval:
        return Verdict.SLOW_DOWN, min(request.interval + 5, LONGEST_INTERVAL)
    return Verdict.PENDING, request.interval


def binding_message(text: str | None) -> str:
    """CIBA section 7.1: what both screens show. One line of at most 100 characters that neither hide nor turn others.

    >>> binding_message("W4SCT")
    'W4SCT'
    """
    message = text or ""
    # NOTE: what is not printable to Python covers controls, bidirectional marks and zero-width characters.
    if len(message) > LONGEST_MESSAGE or not message.isprintable() or message != message.strip():
        raise InvalidRequest(
            f"The binding_message is at most {LONGEST_MESSAGE} printable characters, without spaces at its ends.",
            reason="invalid_binding_message",
        )
    return message


def lifetime(text: str | None) -> int:
    """CIBA section 7.1, requested_expiry: what was asked, no longer than the usual."""
    if text is None:
        return SECONDS
    if not (text.isascii() and text.isdigit() and len(text) < 8 and int(text) > 0):
        raise InvalidRequest("requested_expiry is a positive number of seconds.")
    return min(int(text), SECONDS)


def notification_token(text: str | None) -> str:
    """CIBA section 7.1.1: how the client recognises that it is we who notify it. Required for ping."""
    if text is None or len(text) > 1024 or _TOKEN.fullmatch(text) is None:
        raise InvalidRequest("client_notification_token has 16 to 1024 characters of a bearer token.")
    return text
