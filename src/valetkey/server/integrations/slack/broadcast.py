"""Whether a message calls everybody (`<!channel>`, `<!here>`, `<!everyone>`, a user group), or shows another thing.

Finds rather too much than too little: what is found needs a scope of its own. Refuses to know what is allowed.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from valetkey.server.errors import InvalidRequest
from valetkey.server.integrations.links import leads_outside
from valetkey.verify.json import MalformedJson, parse_object

# Of all that begins with `<!` only a date calls nobody.
_MENTION: Final = re.compile(r"(?:<|\\u003[cC])\s*(?:!|\\u0021)(?!date\^)")
# SECURITY: what is said in pieces may become a mention where two of them meet, so no piece may leave one open.
# Guarded by tests/rules/test_slack_reader.py::test_a_mention_in_two_pieces_is_found_in_the_first
_OPEN: Final = re.compile(r"<[^<>]*\Z")
_BARE_MENTION: Final = re.compile(r"@[^\s@]")  # with `link_names`, of a user group too
_BARE_EVERYBODY: Final = re.compile(r"@(?:channel|here|everyone|group)", re.IGNORECASE)
_PLACE: Final = re.compile(
    r"slack(?:-gov|-files|-edge)?\.com\S*?/(?:files|archives|docs|canvas|lists)|slack-files\.com", re.IGNORECASE
)
_ELEMENTS: Final = frozenset({"broadcast", "usergroup"})
_NESTED: Final = frozenset({"blocks", "attachments", "chunks", "unfurls", "user_auth_blocks"})
"""Arguments that are JSON, inside a text where the body is a form."""


def calls_everybody(arguments: Mapping[str, object], *, in_pieces: bool = False) -> bool:
    """Whether the message does, or, where it is said `in_pieces`, could together with the next one.

    Raises `InvalidRequest` for a part of it that cannot be read, so that nobody knows whom it calls.
    """
    wanted = [_MENTION]
    if any(arguments.get(name) not in (None, False, "", "0", "false", "none") for name in _LINKING):
        wanted.append(_BARE_MENTION)
    if in_pieces:
        wanted.append(_OPEN)
    for value in _parts(arguments):
        match value:
            case str() as text if any(pattern.search(text) for pattern in wanted):
                return True
            case {"type": str(kind)} if kind in _ELEMENTS:
                return True
            # Slack finds mentions in such a text by itself, unless it is told to leave it as it is.
            case {"type": "mrkdwn", "text": str(text)} if value.get("verbatim") is not True:
                if _BARE_EVERYBODY.search(text):
                    return True
    return False


def shows_another_thing(arguments: Mapping[str, object]) -> bool:
    """Whether it shows a file, a message or a document of Slack's that it does not itself bring: by id or by address.

    Raises `InvalidRequest` like `calls_everybody`.
    """
    for value in _parts(arguments):
        match value:
            case str() as text if _PLACE.search(text):
                return True
            case {"slack_file": _} | {"type": "file"}:
                return True
    return False


def leads_away(arguments: Mapping[str, object], *, in_pieces: bool = False) -> bool:
    """Whether it holds an address outside, fetched by whoever shows the message; a piece may hold half of one.

    Raises `InvalidRequest` like `calls_everybody`.
    """
    return in_pieces or any(isinstance(value, str) and leads_outside(value) for value in _parts(arguments))


_LINKING: Final = ("link_names", "parse")  # with either, a bare `@channel` becomes a mention


def _unpacked(name: str, text: str) -> object:
    if not text.strip():
        return text
    try:
        document = parse_object(b'{"it":' + text.encode() + b"}")
    except MalformedJson as error:
        raise InvalidRequest(f"`{name}` is no plain JSON: {error}."[:200], hint="Each member once.") from None
    if set(document) != {"it"}:
        raise InvalidRequest(f"`{name}` is no plain JSON.")
    return document["it"]


def _parts(arguments: Mapping[str, object]) -> Iterator[Any]:
    """Everything that is said, at every depth: texts, objects, and what stands in a text that is JSON."""
    waiting: list[tuple[str, object]] = list(arguments.items())
    while waiting:
        name, value = waiting.pop()
        if name in _NESTED and isinstance(value, str):
            value = _unpacked(name, value)
            if isinstance(value, str) and value.strip():
                raise InvalidRequest(f"`{name}` is JSON inside JSON.", hint="Write it once.")
        yield value
        match value:
            case dict() as members:
                waiting += [("", key) for key in members] + list(members.items())
            case list() as items:
                waiting += [("", item) for item in items]
