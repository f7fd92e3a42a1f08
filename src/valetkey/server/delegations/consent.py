"""What a person still has to be asked before a client gets a code: pure checks, run before the page and again after.

Consent is per person and client and is never used for another (RFC 9700 section 2.1, 4.4). Connections arrive as data:
which are alive, and of which integration. The page shows what is missing here; it never decides.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from valetkey.server.delegations.model import Delegation, Grant


class Missing(StrEnum):
    """Why the person is asked."""

    CONNECTION = "connection"  # an account it would act through is not connected
    AGREEMENT = "agreement"  # she has not agreed to this client, or what she agreed to has ended
    CLIENT_CHANGED = "client_changed"  # its keys, its redirect addresses or its name are others than she saw
    ASKED_AGAIN = "asked_again"  # the client wants her to see the page
    IMPERSONABLE = "impersonable"  # anything on her machine could say it is this client
    DIFFERENT = "different"  # it asks for something else than she agreed to


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line that is asked for. `grant.resources` is empty where the person names them herself.

    `is_asked` is False for what is only offered: the client named an API and nothing of it, so nothing is ticked.
    """

    grant: Grant
    is_asked: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a client asks of a person, as far as her consent is concerned. `agent` is what it is to her."""

    user: str
    agent: str
    client: str
    digest: str  # of what the client says of itself
    lines: tuple[Line, ...]
    purpose: str
    seconds: int | None
    standing: bool
    share_with: tuple[str, ...]
    identifies: bool = False
    shows_again: bool = False
    is_impersonable: bool = False

    @property
    def asked(self) -> str:
        """Equal for two requests exactly when they ask for the same."""
        lines = sorted(
            (
                line.grant.integration,
                line.grant.connection,
                sorted(line.grant.scopes),
                sorted(r.name for r in line.grant.resources),
                line.is_asked,
            )
            for line in self.lines
        )
        said = [lines, self.purpose, self.seconds, self.standing, sorted(self.share_with)]
        # NOTE: added only where it is asked, so that what people agreed to before it counted is still the same.
        said += ["who she is"] if self.identifies else []
        return hashlib.sha256(msgspec.json.encode(said)).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A delegation, and the client it was agreed with. `is_answer`: agreed to on the page of this very request."""

    delegation: Delegation
    client: str
    digest: str
    asked: str
    is_answer: bool = False


Check = Callable[[Wanted, Given, Mapping[str, str], float], Missing | None]


def hers_and_theirs(wanted: Wanted, given: Given, connected: Mapping[str, str], now: float) -> Missing | None:
    """One person's consent to one client is nobody else's."""
    d = given.delegation
    same = (d.user, d.agent, given.client) == (wanted.user, wanted.agent, wanted.client)
    return None if same and d.lines else Missing.AGREEMENT


def still_lives(wanted: Wanted, given: Given, connected: Mapping[str, str], now: float) -> Missing | None:
    return None if given.delegation.is_live(now) else Missing.AGREEMENT


def client_is_the_same(wanted: Wanted, given: Given, connected: Mapping[str, str], now: float) -> Missing | None:
    return None if given.digest == wanted.digest else Missing.CLIENT_CHANGED


def accounts_are_connected(wanted: Wanted, given: Given, connected: Mapping[str, str], now: float) -> Missing | None:
    lost = [g for g in given.delegation.lines if connected.get(g.connection or g.integration) != g.integration]
    return Missing.CONNECTION if lost else None


def nobody_asks_again(wanted: Wanted, given: Given, connected: Mapping[str, str], now: float) -> Missing | None:
    return Missing.ASKED_AGAIN if wanted.shows_again and not given.is_answer else None


def cannot_be_impersonated(wanted: Wanted, given: Given, connected: Mapping[str, str], now: float) -> Missing | None:
    """RFC 9700 section 4.14.1, RFC 8252 section 8.6: a public client on this machine may be anything on it."""
    return Missing.IMPERSONABLE if wanted.is_impersonable and not given.is_answer else None


def asks_for_the_same(wanted: Wanted, given: Given, connected: Mapping[str, str], now: float) -> Missing | None:
    # NOTE: the request is compared, not what she ticked: whoever unticked a line is not asked for it at every visit.
    return None if given.asked == wanted.asked else Missing.DIFFERENT


CHECKS: tuple[Check, ...] = (
    hers_and_theirs,
    still_lives,
    client_is_the_same,
    accounts_are_connected,
    nobody_asks_again,
    cannot_be_impersonated,
    asks_for_the_same,
)


def missing(wanted: Wanted, given: Given | None, connected: Mapping[str, str], *, now: float) -> tuple[Missing, ...]:
    """What still has to be asked; nothing means that a code may be issued.

    `connected` is what lines go through: a connection's id to its integration; what needs none, its name to itself.
    """
    if given is None:
        lacking = {line.grant.integration for line in wanted.lines} - set(connected.values())
        return (Missing.AGREEMENT, *([Missing.CONNECTION] if lacking else []))
    found = (check(wanted, given, connected, now) for check in CHECKS)
    return tuple(m for m in found if m is not None)


def answering(wanted: Wanted, candidates: Sequence[Given], connected: Mapping[str, str], *, now: float) -> Given | None:
    """The first of these that leaves nothing to ask."""
    return next((g for g in candidates if not missing(wanted, g, connected, now=now)), None)
