"""Whether a message calls everybody: `<!channel>`, `<!here>`, `<!everyone>` or a user group, however it says so.

Finds rather too much than too little: what is found needs a scope of its own. Refuses to know what is allowed.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from valetkey.server.errors import InvalidRequest
from valetkey.verify.json import MalformedJson, parse_object

# Of all that begins with `<!` only a date calls nobody.
_MENTION: Final = re.compile(r"(?:<|\\u003[cC])\s*(?:!|\\u0021)(?!date\^)")
# SECURITY: what is said in pieces may become a mention where two of them meet, so no piece may leave one open.
# Guarded by tests/rules/test_slack_reader.py::test_a_mention_in_two_pieces_is_found_in_the_first
_OPEN: Final = re.compile(r"<[^<>]*\Z")
_BARE_MENTION: Final = re.compile(r"@(?:channel|here|everyone|group)", re.IGNORECASE)
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
    return any(
        _found(_unpacked(name, value) if name in _NESTED and isinstance(value, str) else value, wanted)
        for name, value in arguments.items()
    )


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


def _found(value: object, wanted: Sequence[re.Pattern[str]]) -> bool:
    waiting = [value]
    while waiting:
        match waiting.pop():
            case str() as text:
                if any(pattern.search(text) for pattern in wanted):
                    return True
            case dict() as members:
                if members.get("type") in _ELEMENTS:
                    return True
                waiting += [*members.keys(), *members.values()]
            case list() as items:
                waiting += items
    return False
