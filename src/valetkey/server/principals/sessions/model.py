"""What a session is: whose browser, how they proved it, and until when. Frozen; pure."""

from dataclasses import dataclass

IDLE_SECONDS = 12 * 3600
LONGEST_SECONDS = 7 * 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """`amr` as RFC 8176 spells the ways of proving; `acr` the level they add up to. Times in seconds."""

    id: str
    org: str
    user: str
    amr: tuple[str, ...]
    acr: str
    auth_time: int
    created_at: int
    last_used_at: int
    expires_at: int
    browser: str = ""  # the User-Agent it began with, for its owner to recognise
    address: str = ""

    def is_live(self, now: float) -> bool:
        return now < min(self.expires_at, self.last_used_at + IDLE_SECONDS)

    def is_fresh(self, now: float, max_age: int) -> bool:
        """Whether the person proved themselves at most `max_age` seconds ago."""
        return now - self.auth_time <= max_age


ACR_ONE = "urn:valetkey:acr:one"
ACR_TWO = "urn:valetkey:acr:two"
ACR_PASSKEY = "urn:valetkey:acr:passkey"  # phishing-resistant, user verified
LEVELS = (ACR_ONE, ACR_TWO, ACR_PASSKEY)
"""From the weakest up; a request for a level is met by it or any after it."""


def acr_of(amr: tuple[str, ...]) -> str:
    """The level the proofs add up to.

    >>> acr_of(("pwd",)) == ACR_ONE, acr_of(("pwd", "otp")) == ACR_TWO, acr_of(("hwk", "user")) == ACR_PASSKEY
    (True, True, True)
    """
    if "hwk" in amr and "user" in amr:
        return ACR_PASSKEY
    return ACR_TWO if {"mfa", "otp", "hwk"} & set(amr) else ACR_ONE


def meets(acr: str, wanted: tuple[str, ...]) -> bool:
    """Whether a level satisfies one of those asked for. An unknown level is met by nothing."""
    if not wanted:
        return True
    return acr in LEVELS and any(w in LEVELS and LEVELS.index(acr) >= LEVELS.index(w) for w in wanted)
