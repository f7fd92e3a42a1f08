"""Which operations one Slack call is, and on which channels: its arguments read once, each channel a thing of its own.

Responsible for saying every channel a call names, and for falling back to the whole account wherever it names none, or
says anything that could be about more than its channel. Refuses to know what is allowed, and which id a name has.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from valetkey.server.errors import InvalidRequest
from valetkey.server.integrations.links import marked
from valetkey.server.integrations.model import Match, Operation
from valetkey.server.integrations.operations import Operations
from valetkey.server.integrations.reading import Reading, Reads, Said
from valetkey.server.integrations.slack.arguments import Arguments, read_arguments
from valetkey.server.integrations.slack.broadcast import calls_everybody, leads_away, shows_another_thing

MESSAGE_TAG: Final = "message"
"""Marks an operation that says something to people."""
PIECES_TAG: Final = "pieces"
"""Marks an operation that says a part of a message, which others go on with."""
BROADCAST: Final = "chat/broadcast"
"""What a message that calls everybody is besides: an operation of its own, on the same channels."""

_CHANNEL_ID: Final = re.compile(r"[CGD][A-Z0-9]{2,30}")
_USER_ID: Final = re.compile(r"[UW][A-Z0-9]{2,30}")
_NAME: Final = re.compile(r"#?[^\sA-Z#@<>,|&%\"'`/\\()]{1,80}")
_LISTS: Final = frozenset({"channels", "channel_ids", "users"})

_SAID: Final = """
    text blocks attachments chunks markdown_text mrkdwn metadata unfurls unfurl_links unfurl_media username icon_emoji
    icon_url as_user parse link_names reply_broadcast initial_comment files title document_content loading_messages
    status prompts task_display_mode session_status recipient_user_id recipient_team_id post_at
"""
_WHICH: Final = """
    ts thread_ts message_ts timestamp scheduled_message_id bookmark_id link type emoji
"""
_HOW_MUCH: Final = """
    cursor limit count page latest oldest inclusive full ts_from ts_to types show_files_hidden_by_limit
    include_all_metadata include_locale include_num_members return_im
"""
_WHAT_BECOMES_OF_IT: Final = "name user users purpose topic force"
_ABOUT_THE_CHANNEL: Final = frozenset(f"{_SAID} {_WHICH} {_HOW_MUCH} {_WHAT_BECOMES_OF_IT}".split())
"""Arguments that say nothing beyond the channel they stand beside. Any other asks for the whole account."""


@dataclass(frozen=True, slots=True)
class _Named:
    """A channel, or a person whose direct messages are meant, as one argument names it."""

    argument: str
    text: str

    def match(self, operation: Operation) -> Match:
        """What the operation does to it. An id is an id; a name carries its sign."""
        if _USER_ID.fullmatch(self.text):
            return Match(replace(operation, resource_kind="user", resource_fields=("user",)), {"user_id": self.text})
        operation = replace(operation, resource_fields=("channel",))
        if _CHANNEL_ID.fullmatch(self.text):
            return Match(operation, {"channel_id": self.text})
        return Match(operation, {"channel": f"#{self.text.removeprefix('#')}"})


class SlackReader:
    """One per description of the API."""

    most_bytes = 1 << 20

    def __init__(self, operations: Operations) -> None:
        if BROADCAST not in operations and any(MESSAGE_TAG in operation.tags for operation in operations.values()):
            raise ValueError(f"messages can be said, but {BROADCAST} is not described")
        self._operations = operations

    def reads(self, method: str, segments: Sequence[str]) -> Reads:  # noqa: ARG002 - all alike
        """Every method takes its arguments in the body, and a token, too."""
        return Reads.BODY

    def __call__(self, said: Said) -> Reading | None:
        """The call's operation on each channel it names; on the account, where it is about more or names none."""
        # SECURITY: HEAD is nothing here, though a table takes it for GET: Slack does not say what it does with it.
        found = self._operations.match(said.method, said.segments) if said.method in ("GET", "POST") else None
        if found is None:
            return None
        operation = found.operation
        arguments = read_arguments(said).in_body()
        if operation.access == "read":
            # SECURITY: methods that only read may not look at JSON, and then answer as if no channel had been named.
            # Guarded by tests/rules/test_slack_reader.py::test_what_is_asked_by_json_is_sent_as_a_form
            arguments = arguments.as_form()
        named = _named(operation, arguments)
        matches = [thing.match(operation) for thing in named]
        is_about_it = arguments.all.keys() <= _ABOUT_THE_CHANNEL | set(operation.resource_fields)
        # SECURITY: who posts a link to a file shares the file, from wherever it is (`files` alone takes fresh uploads).
        # Guarded by tests/rules/test_slack_reader.py::test_what_shows_another_thing_asks_for_the_account
        if not named or not is_about_it or (operation.access == "write" and shows_another_thing(arguments.all)):
            matches.append(Match(operation, {}))
        if MESSAGE_TAG in operation.tags and calls_everybody(arguments.all, in_pieces=PIECES_TAG in operation.tags):
            broadcast = self._operations[BROADCAST]
            matches += [thing.match(broadcast) for thing in named] or [Match(broadcast, {})]
        if operation.access == "write" and leads_away(arguments.all, in_pieces=PIECES_TAG in operation.tags):
            matches = marked(matches)
        return _reading(arguments, named, matches)


def _reading(arguments: Arguments, named: Sequence[_Named], matches: Sequence[Match]) -> Reading:
    content_type, body = arguments.written()

    def by_id(ids: Sequence[str]) -> Reading:
        came, said = arguments.all, dict[str, list[str]]()
        for thing, id_ in zip(named, ids, strict=False):  # matches begin with what is named
            said.setdefault(thing.argument, []).append(id_ or thing.text)
        values = {name: ids_ if isinstance(came[name], list) else ",".join(ids_) for name, ids_ in said.items()}
        return _reading(arguments.saying(values), (), matches)

    return Reading(
        matches=matches, query=arguments.query, content_type=content_type, body=body, by_id=by_id if named else None
    )


def _named(operation: Operation, arguments: Arguments) -> list[_Named]:
    if operation.resource_kind == "account":
        return []
    said = arguments.all
    return [
        _Named(name, text) for name in operation.resource_fields if name in said for text in _texts(name, said[name])
    ]


def _texts(name: str, value: object) -> list[str]:
    items: Sequence[object] = [value]
    if name in _LISTS and isinstance(value, str | list):
        items = value.split(",") if isinstance(value, str) else value
    texts = [text for text in items if isinstance(text, str) and _is_name(text)]
    if not items or len(texts) != len(items):
        raise InvalidRequest(
            f"`{name}` names no channel, or something besides.",
            hint="Give a channel's id (C0123ABCD) or its name (#engineering), or a person's id (U0123ABCD).",
        )
    return texts


def _is_name(text: str) -> bool:
    if _CHANNEL_ID.fullmatch(text) or _USER_ID.fullmatch(text):
        return True
    # SECURITY: a name is small letters only, so that no name looks like an id, and none is spelled in two ways.
    # Guarded by tests/rules/test_slack_reader.py::test_what_is_neither_an_id_nor_a_name_is_refused
    return bool(_NAME.fullmatch(text)) and text == text.lower() and text.isprintable()
