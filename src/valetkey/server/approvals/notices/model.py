"""What a notice says, in the shape each kind of receiver takes. Frozen; pure.

Who asks, for whom, that something waits, and where it is looked at: never what the call is or holds. Opening the link
answers nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Literal

import msgspec

from valetkey.server.egress.url import Url, parsed
from valetkey.server.errors import InvalidRequest

MOST_ADDRESSES: Final = 5  # of one person, and
MOST_BROWSERS: Final = 5  # besides
MOST_CODES: Final = 5  # mailed for one person in an hour
MOST_GUESSES: Final = 5  # at one code
CODE_SECONDS: Final = 900
LONGEST_ADDRESS: Final = 1_000
TRIES: Final = 3
PAUSE_SECONDS: Final = 20
"""So long an address is left alone after a notice: what comes meanwhile is one notice then, three a minute at most."""


class Kind(StrEnum):
    NTFY = "ntfy"
    SLACK = "slack"
    TEAMS = "teams"
    WEBHOOK = "webhook"
    MAIL = "mail"
    PUSH = "push"


TITLES: Final = {
    Kind.NTFY: "ntfy topic",
    Kind.SLACK: "Slack webhook",
    Kind.TEAMS: "Microsoft Teams workflow",
    Kind.WEBHOOK: "Webhook (JSON)",
    Kind.MAIL: "E-mail",
    Kind.PUSH: "Browser",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeAddress:
    """Where one person is told. The address itself is sealed: whoever knows it can write there. Times in seconds."""

    id: str
    org: str
    user: str
    kind: Kind
    place: str  # its host, for its person to recognise
    created_at: int
    told_at: int | None
    failures: int  # since it was last reached
    problem: str
    confirmed_at: int | None  # nothing is sent to an address that nobody has shown to be theirs

    @property
    def title(self) -> str:
        return TITLES[self.kind]


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """One thing that waits: which agent asks, for whom."""

    agent: str
    user: str  # e-mail


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What one address is told at one time."""

    waiting: Sequence[Waiting]
    link: str

    @property
    def words(self) -> str:
        """The sentence.

        >>> one = Waiting(agent="a", user="alice@acme.com")
        >>> Notice(waiting=[one], link="x").words
        'a, acting for alice@acme.com, asks before a call. It waits for you.'
        >>> Notice(waiting=[one, Waiting(agent="b", user="alice@acme.com")], link="x").words
        'a and b, acting for alice@acme.com, ask before 2 calls. They wait for you.'
        """
        agents, people = _and(w.agent for w in self.waiting), _and(w.user for w in self.waiting)
        count = len(self.waiting)
        if count == 1:
            return f"{agents}, acting for {people}, asks before a call. It waits for you."
        verb = "asks" if len({w.agent for w in self.waiting}) == 1 else "ask"
        return f"{agents}, acting for {people}, {verb} before {count} calls. They wait for you."


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What is sent: `count` calls wait, for `seconds` at most. None wait when somebody only tries it out."""

    words: str
    link: str
    count: int
    seconds: int


TRIED: Final = "Notices from Valetkey arrive here. Nothing waits."


def address_of(kind: Kind, text: str) -> Url:
    """The address somebody typed. Raises `InvalidRequest`."""
    if len(text) > LONGEST_ADDRESS:
        raise InvalidRequest(f"An address has at most {LONGEST_ADDRESS} characters.")
    url = parsed(text)
    if kind is Kind.NTFY and _topic(url) == "":
        raise InvalidRequest("This is not the address of a topic.", hint="Write https://ntfy.sh/your-topic.")
    return url


Posted = Literal[Kind.NTFY, Kind.SLACK, Kind.TEAMS, Kind.WEBHOOK]
"""What is told by a POST of JSON to an address of https."""


def said(kind: Posted, url: Url, message: Message) -> tuple[Url, bytes]:
    """Where a notice is posted, and its JSON."""
    words, link, count = message.words, message.link, message.count
    match kind:
        case Kind.NTFY:
            # NOTE: published to the root, where title and words may hold any letter; headers may not.
            body: dict[str, Any] = {"topic": _topic(url), "title": "Valetkey", "message": words, "click": link}
            return _root(url), msgspec.json.encode(body)
        case Kind.SLACK:
            return url, msgspec.json.encode({"text": f"{_for_slack(words)} <{link}|Look at it>"})
        case Kind.TEAMS:
            card = {
                "type": "AdaptiveCard",
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "version": "1.4",
                "body": [{"type": "TextBlock", "text": words, "wrap": True}],
                "actions": [{"type": "Action.OpenUrl", "title": "Look at it", "url": link}],
            }
            attached = {"contentType": "application/vnd.microsoft.card.adaptive", "content": card}
            return url, msgspec.json.encode({"type": "message", "attachments": [attached]})
        case Kind.WEBHOOK:
            return url, msgspec.json.encode({"event": "approval.asked", "text": words, "link": link, "count": count})


def _and(names: Any) -> str:
    """Names, once each; of many the first ones."""
    found = list(dict.fromkeys(names))
    if len(found) > 3:
        return f"{', '.join(found[:3])} and {len(found) - 3} more"
    return " and ".join([", ".join(found[:-1]), found[-1]] if len(found) > 1 else found)


def _topic(url: Url) -> str:
    path = url.target.decode().partition("?")[0].removeprefix("/")
    return path if path and "/" not in path and "%" not in path else ""


def _root(url: Url) -> Url:
    query = url.target.decode().partition("?")[2]
    return Url(scheme=url.scheme, host=url.host, port=url.port, target=f"/?{query}".encode() if query else b"/")


def _for_slack(words: str) -> str:
    return words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
