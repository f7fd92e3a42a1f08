"""A linking that an API gave a code for: whose and where it is, and when the API may be asked about it. Pure."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from valetkey.server.connections.linking.model import Linking

DEVICE_CODE: Final = "urn:ietf:params:oauth:grant-type:device_code"
SLOWER_SECONDS: Final = 5
"""What every `slow_down` adds, for good (RFC 8628 section 3.5)."""
_LONGEST_WAIT: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceLinking:
    """`sealed` is the device code as the vault keeps it, None when it is over; `page` is where the API takes
    `user_code`. `wait_seconds` lie between two questions, and none is asked before `poll_at`."""

    linking: Linking
    integration: str
    user_code: str
    page: str
    token_url: str
    wait_seconds: int
    poll_at: int
    expires_at: int
    sealed: bytes | None = None

    def is_over(self, now: float) -> bool:
        return self.sealed is None or self.linking.used_at is not None or now >= self.expires_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """The API is to be asked again, not before `poll_at`; `said` is the name of why."""

    device: DeviceLinking
    said: str


def next_at(now: float, wait_seconds: int) -> int:
    """The first whole second at which all of the time has passed.

    >>> next_at(10.2, 5), next_at(10.0, 5)
    (16, 15)
    """
    return math.ceil(now) + wait_seconds


def backed_off(wait_seconds: int) -> int:
    """Twice as long after no answer (RFC 8628 section 3.5), up to a minute; never shorter than it was."""
    return max(wait_seconds, min(2 * wait_seconds, _LONGEST_WAIT))


WAITING: Final[Mapping[str, str]] = {
    "not_due": "It is too early to look again.",
    "authorization_pending": "Nobody has agreed there yet.",
    "slow_down": "The API wants to be asked less often.",
    "no_answer": "The API did not answer properly.",
}
