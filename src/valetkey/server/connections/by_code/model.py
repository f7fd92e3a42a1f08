"""A connect code: for whom it is, what it leads to, and what became of it. Pure: time comes in.

waiting → opened, by its person in one browser → linked | declined | refused; never back. Whoever else opens it ends it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

CODE_SECONDS: Final = 600
MOST_LIVE: Final = 30
"""How many a person may have that are not over, whoever asked for them."""
MOST_OF_AGENTS: Final = 10
"""How many of those agents may have caused: the rest stays for herself."""
POLL_SECONDS: Final = 2


class State(StrEnum):
    WAITING = "waiting"
    OPENED = "opened"
    LINKED = "linked"
    DECLINED = "declined"
    REFUSED = "refused"


OPEN: Final = (State.WAITING, State.OPENED)
Told = Literal["pending", "linked", "declined", "refused", "expired"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectCode:
    """`permissions` are the API's own; empty: she chooses on the page. `connection` is one to be connected again.

    `agent` is whose call needed it; None: she began it herself. `session` is the browser it was opened in.
    """

    id: str
    org: str
    user: str
    agent: str | None
    integration: str
    permissions: tuple[str, ...]
    connection: str | None
    shared: bool
    state: State
    created_at: int
    expires_at: int
    reason: str = ""
    session: str | None = None
    linked: str | None = None

    def told(self, now: float) -> Told:
        """What whoever began it is told.

        >>> facts = dict(id="", org="", user="", agent=None, integration="", permissions=(), connection=None)
        >>> code = ConnectCode(**facts, shared=False, state=State.OPENED, created_at=0, expires_at=600)
        >>> code.told(599), code.told(600)
        ('pending', 'expired')
        """
        match self.state:
            case State.LINKED:
                return "linked"
            case State.DECLINED:
                return "declined"
            case State.REFUSED:
                return "refused"
            case State.WAITING | State.OPENED:
                return "pending" if now < self.expires_at else "expired"


_WHY: Final[Mapping[str, str]] = {
    "declined": "You declined on the page.",
    "refused_there": "You declined at the API.",
    "no_access": "The API gave no access.",
    "expired_there": "The API's code was not entered in time.",
    "another_person": "Somebody else opened it, and was refused.",
    "another_browser": "It was finished in another browser than the one it was begun in.",
    "another_app": "The answer was not for the API that was asked.",
    "another_issuer": "The answer was not from the API that was asked.",
    "another_account": "It was another account than the one to be connected again.",
    "not_administrator": "Only an administrator shares a connection.",
    "upstream_failed": "The API did not answer properly.",
}


def why(code: ConnectCode, told: Told) -> str:
    """One sentence for whoever waited, empty while there is nothing to say."""
    match told:
        case "pending" | "linked":
            return ""
        case "expired":
            return "Nobody finished it within ten minutes."
        case "declined" | "refused":
            return _WHY.get(code.reason, "The account could not be connected.")
