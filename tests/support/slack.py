"""A small Slack workspace behind raw sockets: channels with names and ids, asked by form, failures as 200.

It keeps every byte it was sent (`up.seen`) and answers as Slack does; `said` lists what was posted, and where.
"""

import json
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl

from tests.support.seen import Seen
from tests.support.upstream import Upstream, Wire, reply

CREDENTIAL: Final = "xoxp-realCanary-0123456789"
TEAM: Final = "T1ACME"
ENGINEERING: Final = "C1ENG"
RANDOM: Final = "C2RND"
GENERAL: Final = "C3GEN"
DIRECT: Final = "D1ALICE"
BOB: Final = "U2BOB"
PAGE: Final = 2  # channels on a page of the list


@dataclass
class Workspace:
    """`channels` are names by id; a name may move, as they do."""

    up: Upstream
    channels: dict[str, str] = field(
        default_factory=lambda: {RANDOM: "random", GENERAL: "general", ENGINEERING: "engineering", DIRECT: ""}
    )
    team: str = TEAM
    is_endless: bool = False  # its list goes on for ever
    said: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for path in ("/auth.test", "/conversations.info", "/conversations.list", "/users.info"):
            self.up.answers("POST", path, script=self._answer)
        for method, path in (("GET", "/conversations.history"), ("POST", "/conversations.history")):
            self.up.answers(method, path, script=self._answer)
        self.up.raw_answer(self._answer)

    def posted(self, path: str = "/chat.postMessage") -> int:
        """How often that was asked of it."""
        return self.up.received("POST", path)

    async def _answer(self, seen: Seen, wire: Wire) -> None:
        document = self._document(seen.path.decode(), _arguments(seen))
        await wire.say(reply(200, {"Content-Type": "application/json; charset=utf-8"}, json.dumps(document).encode()))

    def _document(self, path: str, said: dict[str, Any]) -> dict[str, Any]:
        match path:
            case "/auth.test":
                return {"ok": True, "user": "alice", "user_id": "U1ALICE", "team": "Acme", "team_id": self.team}
            case "/conversations.info":
                id_ = said.get("channel", "")
                return {"ok": True, "channel": self._channel(id_)} if id_ in self.channels else _NOT_FOUND
            case "/conversations.list":
                named = [id_ for id_, name in self.channels.items() if name]
                begins = int(said.get("cursor") or 0)
                rest = str(begins + PAGE) if begins + PAGE < len(named) else ""
                rest = "0" if self.is_endless else rest
                page = [self._channel(id_) for id_ in named[begins : begins + PAGE]]
                return {"ok": True, "channels": page, "response_metadata": {"next_cursor": rest}}
            case "/users.info":
                if said.get("user") != BOB:
                    return {"ok": False, "error": "user_not_found"}
                return {"ok": True, "user": {"id": BOB, "name": "bob", "team_id": self.team}}
            case "/chat.delete":
                return _NOT_FOUND
            case _:
                self.said.append(said)
                return {"ok": True, "channel": said.get("channel"), "ts": "1700000000.000100", "messages": []}

    def _channel(self, id_: str) -> dict[str, Any]:
        return {"id": id_, "name": self.channels[id_], "context_team_id": self.team, "is_archived": False}


_NOT_FOUND: Final = {"ok": False, "error": "channel_not_found"}


def _arguments(seen: Seen) -> dict[str, Any]:
    """As Slack finds them: in the query and in the body, whichever shape it has."""
    found: dict[str, Any] = dict(parse_qsl(seen.target.partition(b"?")[2].decode()))
    kind = seen.header("content-type") or b""
    if kind.startswith(b"application/json"):
        return {**found, **seen.json()}
    if kind.startswith(b"application/x-www-form-urlencoded"):
        return {**found, **dict(parse_qsl(seen.body.decode()))}
    return found
