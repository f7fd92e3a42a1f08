"""What is known of a credential that is renewed, and every way that can change. Pure: time and chance are arguments.

    healthy → held → healthy, one generation later
                   → waiting, for the next try
                   → needs_reconnect, which only a person ends

Who is about to ask the API writes a hold first, and asks after it is durable. A hold nobody let go of therefore says:
the API may have been asked. Who comes after may ask once more, and if the refresh token is refused then, it was used
up by an answer nobody kept: it is lost, and a person is told.
"""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final, Literal

State = Literal["healthy", "held", "waiting", "needs_reconnect"]

HELD_SECONDS: Final = 30
"""Three times as long as the longest call: who still holds when it is over has died, or slept."""
SPARE_SECONDS: Final = 10
"""A credential with less than this left is renewed before it is used: a call takes its time."""
TRUSTED_SECONDS: Final = 60
"""A credential younger than this is not renewed because the API refused it: another one would fare no better."""
_LONGEST_LEAD_SECONDS: Final = 1_800
_FIRST_BACK_OFF_SECONDS: Final = 4
_LONGEST_BACK_OFF_SECONDS: Final = 900
LONGEST_WAIT_SECONDS: Final = 86_400


class Step(StrEnum):
    """What whoever needs a later credential does next."""

    USE = "use"
    TAKE = "take"
    LOOK_AGAIN = "look_again"
    WAIT = "wait"
    RECONNECT = "reconnect"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refreshing:
    """A row. `generation` counts the credentials of this connection; `due_at` is when to renew early, or to try again.

    `unanswered`: since the last answer the API was asked, or may have been, and what it said was not kept.
    """

    connection: str
    app: str
    token_url: str  # the one place the refresh token may be sent to
    state: State
    generation: int
    expires_at: int | None
    due_at: int | None
    refreshed_at: int
    holder: str | None = None
    held_until: int | None = None
    tries: int = 0
    unanswered: bool = False
    problem: str | None = None
    sealed: bytes | None = field(default=None, repr=False)

    def is_good(self, now: float) -> bool:
        """Whether the credential lasts long enough to begin a call with it."""
        return self.expires_at is None or now < self.expires_at - SPARE_SECONDS

    def still_lives(self, now: float) -> bool:
        """Whether the credential has not expired: for who cannot get a later one."""
        return self.expires_at is None or now < self.expires_at

    def may_answer_a_refusal(self, now: float) -> bool:
        """Whether a later credential could help a call the API answered with 401."""
        return self.sealed is not None and now >= self.refreshed_at + TRUSTED_SECONDS

    def step(self, now: float, *, beyond: int) -> Step:
        """What to do for a credential of a generation later than `beyond`."""
        if self.generation > beyond:
            return Step.USE
        if self.state == "needs_reconnect":
            return Step.RECONNECT
        if self.state == "held" and self.held_until is not None and now < self.held_until:
            return Step.LOOK_AGAIN
        if self.state == "waiting" and self.due_at is not None and now < self.due_at:
            return Step.WAIT
        return Step.TAKE

    def taken(self, holder: str, now: float) -> "Refreshing":
        """Held by `holder`, who may ask the API once this is durable."""
        return replace(
            self,
            state="held",
            holder=holder,
            held_until=int(now) + HELD_SECONDS,
            unanswered=self.unanswered or self.state == "held",
            tries=self.tries + 1,
        )

    def answered(self, now: float, *, lasts_seconds: int | None, chance: float) -> "Refreshing":
        """The API gave another credential."""
        return replace(
            self,
            state="healthy",
            generation=self.generation + 1,
            expires_at=None if lasts_seconds is None else int(now) + lasts_seconds,
            due_at=due_at(now, lasts_seconds=lasts_seconds, chance=chance),
            refreshed_at=int(now),
            holder=None,
            held_until=None,
            tries=0,
            unanswered=False,
            problem=None,
        )

    def put_off(
        self, now: float, *, problem: str, unanswered: bool, chance: float, retry_after: int = 0
    ) -> "Refreshing":
        """The API did not give one, for now. It is asked again no sooner than it wants to be."""
        return replace(
            self,
            state="waiting",
            due_at=int(now) + max(min(retry_after, LONGEST_WAIT_SECONDS), back_off(self.tries, chance=chance)),
            holder=None,
            held_until=None,
            unanswered=self.unanswered or unanswered,
            problem=problem,
        )

    def ended(self, problem: str) -> "Refreshing":
        """No later credential will come until the account is connected again."""
        return replace(self, state="needs_reconnect", due_at=None, holder=None, held_until=None, problem=problem)

    def refused(self, error: str, *, is_used_once: bool) -> "Refreshing":
        """The API will never take this refresh token again; `is_used_once`: each is good for one answer."""
        return self.ended("lost" if self.unanswered and is_used_once else error)


def begun(
    connection: str,
    app: str,
    token_url: str,
    *,
    lasts_seconds: int | None,
    now: float,
    chance: float,
    generation: int = 1,
) -> Refreshing:
    """How a credential begins that a person consented to."""
    return Refreshing(
        connection=connection,
        app=app,
        token_url=token_url,
        state="healthy",
        generation=generation,
        expires_at=None if lasts_seconds is None else int(now) + lasts_seconds,
        due_at=due_at(now, lasts_seconds=lasts_seconds, chance=chance),
        refreshed_at=int(now),
    )


def due_at(now: float, *, lasts_seconds: int | None, chance: float) -> int | None:
    """When to renew early: in the last fifth of its life, at a moment of its own so that not all come together.

    >>> due_at(0, lasts_seconds=3600, chance=0.0), due_at(0, lasts_seconds=3600, chance=1.0)
    (3240, 2880)
    >>> due_at(0, lasts_seconds=28_800, chance=0.0), due_at(0, lasts_seconds=None, chance=0.0)
    (27900, None)
    """
    if lasts_seconds is None:
        return None
    return int(now + lasts_seconds - min(lasts_seconds / 5, _LONGEST_LEAD_SECONDS) * (1 + chance) / 2)


def back_off(tries: int, *, chance: float) -> int:
    """Seconds until the next try after so many that failed: twice as long each time, and never for all alike.

    >>> [back_off(tries, chance=1.0) for tries in (1, 2, 3, 20)], back_off(1, chance=0.0)
    ([4, 8, 16, 900], 2)
    """
    most = min(_FIRST_BACK_OFF_SECONDS * 2 ** min(max(tries - 1, 0), 16), _LONGEST_BACK_OFF_SECONDS)
    return int(most * (1 + chance) / 2)
