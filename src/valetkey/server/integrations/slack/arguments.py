"""The arguments of one Slack call, from its query and its body: one reading, or none.

Responsible for no argument being there twice, in disguise, or as a credential, and for the bytes that are sent: built
from what was read, in the shape it came in. Refuses to know which methods there are, and what an argument means.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final
from urllib.parse import quote_plus, unquote_to_bytes

from valetkey.server.errors import InvalidRequest
from valetkey.server.integrations.reading import Pairs, Said
from valetkey.server.integrations.slack import multipart
from valetkey.verify.json import MalformedJson, parse_object

MOST_ARGUMENTS: Final = 64

# SECURITY: Slack's names are all of this shape. Any other may be folded into one of them by whoever reads it there:
# `channel[]`, ` channel`, `channel.id`, `Channel`.
# Guarded by tests/rules/test_slack_arguments.py::test_a_name_that_could_be_read_as_another_is_refused
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_RAW_FORM: Final = re.compile(rb"[\x21-\x7e]*")
_BROKEN_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_CHARSET: Final = re.compile(r'charset="?utf-8"?', re.IGNORECASE)
_BOUNDARY: Final = re.compile(r"""boundary=("?)([0-9A-Za-z'()+_./:=?-]{1,70})\1""")


class Shape(Enum):
    """How the body is written; the value is its content type."""

    NONE = ""
    FORM = "application/x-www-form-urlencoded"
    JSON = "application/json"
    MULTIPART = "multipart/form-data"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """What was said, in the order it was said. Only JSON holds anything but text."""

    query: Pairs
    body: tuple[tuple[str, object], ...]
    shape: Shape

    @property
    def all(self) -> dict[str, object]:
        """Every argument by its name, wherever it stood."""
        return {**dict(self.query), **dict(self.body)}

    def saying(self, values: Mapping[str, object]) -> "Arguments":
        """The same with other values for some arguments, each where it stood."""
        return replace(
            self,
            query=tuple((name, str(values.get(name, value))) for name, value in self.query),
            body=tuple((name, values.get(name, value)) for name, value in self.body),
        )

    def in_body(self) -> "Arguments":
        """The same with all of it in the body, where there is one: Slack need not read a query beside JSON."""
        if self.shape is Shape.NONE or not self.query:
            return self
        return replace(self, query=(), body=(*self.query, *self.body))

    def as_form(self) -> "Arguments":
        """The same as a form. Raises `InvalidRequest` for what a form cannot say."""
        if self.shape is not Shape.JSON:
            return self
        return replace(self, shape=Shape.FORM, body=tuple((name, _plain(name, value)) for name, value in self.body))

    def written(self) -> tuple[str, bytes]:
        """Content type and bytes of the body."""
        texts = tuple((name, value) for name, value in self.body if isinstance(value, str))
        match self.shape:
            case Shape.NONE:
                return "", b""
            case Shape.JSON:
                text = json.dumps(dict(self.body), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
                return "application/json; charset=utf-8", text.encode()
            case Shape.FORM:
                pairs = "&".join(f"{name}={quote_plus(value)}" for name, value in texts)
                return "application/x-www-form-urlencoded", pairs.encode()
            case Shape.MULTIPART:
                return multipart.written(texts)


def read_arguments(said: Said) -> Arguments:
    """The one reading of the call. Raises `InvalidRequest` for what has two, or none."""
    shape, boundary = _shape(said.content_type) if said.body else (Shape.NONE, "")
    if said.body and said.method != "POST":
        raise InvalidRequest(f"A {said.method} says everything in its query.", hint="Send the body by POST.")
    match shape:
        case Shape.NONE:
            body: tuple[tuple[str, object], ...] = ()
        case Shape.JSON:
            body = _object(said.body)
        case Shape.FORM:
            body = _form(said.body)
        case Shape.MULTIPART:
            body = multipart.parts(said.body, boundary)
    _refuse_unclear([name for name, _ in said.query], [name for name, _ in body])
    return Arguments(query=said.query, body=body, shape=shape)


def _plain(name: str, value: object) -> str:
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case list() if all(isinstance(item, str) and "," not in item for item in value):
            return ",".join(value)
    raise InvalidRequest(f"`{name}` is no text, number or list of texts.", hint="Send the call as a form.")


def _refuse_unclear(in_query: list[str], in_body: list[str]) -> None:
    names = [*in_query, *in_body]
    if len(names) > MOST_ARGUMENTS:
        raise InvalidRequest(f"The call has more than {MOST_ARGUMENTS} arguments.")
    for name in names:
        if not _NAME.fullmatch(name):
            raise InvalidRequest(f"The argument {name[:40]!r} is no name of Slack's.", hint="Small letters, digits, _.")
    # SECURITY: Slack takes a token from the query and from the body as well, and it would be somebody else's (SL-01).
    # Guarded by tests/rules/test_slack_arguments.py::test_a_token_is_refused_wherever_it_stands
    if "token" in names:
        raise InvalidRequest(
            "The call has a `token` among its arguments.", hint="The credential goes into the Authorization header."
        )
    # SECURITY: which of two Slack takes is its business, and it may change.
    # Guarded by tests/rules/test_slack_arguments.py::test_an_argument_is_said_once
    if twice := {name for name in names if names.count(name) > 1}:
        raise InvalidRequest(f"The argument {min(twice)!r} is there twice.", hint="Say it once, in one place.")


def _shape(content_type: str) -> tuple[Shape, str]:
    kind, *parameters = (part.strip() for part in content_type.split(";"))
    try:
        shape = Shape(kind.lower())
    except ValueError:
        shape = Shape.NONE
    if shape is Shape.MULTIPART and len(parameters) == 1 and (found := _BOUNDARY.fullmatch(parameters[0])):
        return shape, found[2]
    if shape in (Shape.FORM, Shape.JSON) and (not parameters or _is_utf8(parameters)):
        return shape, ""
    raise InvalidRequest(
        f"A body of the type {content_type[:80]!r} is not read here.",
        hint="Send application/json or application/x-www-form-urlencoded, in UTF-8.",
    )


def _is_utf8(parameters: list[str]) -> bool:
    return len(parameters) == 1 and _CHARSET.fullmatch(parameters[0]) is not None


def _object(body: bytes) -> tuple[tuple[str, object], ...]:
    try:
        return tuple(parse_object(body).items())
    except MalformedJson as error:
        raise InvalidRequest(
            f"The body is not one plain JSON object: {error}."[:200], hint="Each member once, not nested too deep."
        ) from None


def _form(body: bytes) -> tuple[tuple[str, object], ...]:
    if not _RAW_FORM.fullmatch(body) or _BROKEN_ESCAPE.search(body):
        raise InvalidRequest("The form has a character that must be escaped, or an escape that is none.")
    return tuple(_pair(raw) for raw in body.split(b"&"))


def _pair(raw: bytes) -> tuple[str, str]:
    name, equals, value = raw.partition(b"=")
    if not equals:
        raise InvalidRequest("The form has a part that is no `name=value`.")
    return plain_text(name), plain_text(unquote_to_bytes(value.replace(b"+", b" ")))


def plain_text(raw: bytes) -> str:
    """Strict UTF-8 without U+0000, which ends a text for some who read it."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise InvalidRequest("The body is no valid UTF-8.") from None
    if "\x00" in text:
        raise InvalidRequest("The body has a NUL character.")
    return text
