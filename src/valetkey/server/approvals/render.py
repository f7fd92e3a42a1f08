"""What a person is shown of a call: from the bytes that will be sent, and from nothing else. Pure.

What two readers could read differently, or what is too long to be read, is called that: then a click is not enough.
"""

import base64
import json
import re
import unicodedata
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

from valetkey.server.approvals.model import Facts, Kept
from valetkey.server.integrations.model import Integration

MOST_ROWS: Final = 300
LONGEST_TEXT: Final = 20_000
_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    name: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """`is_whole`: all that is sent stands here, with one reading."""

    title: str
    method: str
    host: str
    path: str
    query: tuple[Row, ...]
    kind: str  # what the body is: nothing, JSON, form, GraphQL, text, or why it cannot be shown
    rows: tuple[Row, ...]
    text: str
    size: int
    is_whole: bool
    headers: tuple[Row, ...]


def render(kept: Kept, facts: Facts, integration: Integration | None) -> Shown:
    """The call, for a person."""
    kind, rows, text, is_whole = _body(kept)
    if integration is not None and integration.refusals == "google" and kind == "JSON":
        rows, is_whole = _with_mails(rows, is_whole)
    return Shown(
        title=_title(facts, integration),
        method=kept.method,
        host=_host(facts),
        path=visible(unquote(kept.path.decode("ascii"))),
        query=_pairs(kept.query) if kept.query else (),
        kind=kind,
        rows=rows,
        text=text,
        size=len(kept.body),
        is_whole=is_whole,
        headers=tuple(Row(name=n.decode("latin-1"), value=visible(v.decode("latin-1"))) for n, v in kept.headers),
    )


def forgotten(facts: Facts, integration: Integration | None) -> Shown:
    """What is left of a call whose bytes are kept no more."""
    return Shown(
        title=_title(facts, integration),
        method="",
        host=_host(facts),
        path="",
        query=(),
        kind="forgotten: what was sent is kept for a day after its end",
        rows=(),
        text="",
        size=0,
        is_whole=False,
        headers=(),
    )


def visible(text: str) -> str:
    """Text in which nothing hides or reorders: what acts on the reader is written as its number.

    >>> visible("a\\u202eb"), visible("tab\\there"), visible("line\\nnext")
    ('a⟨U+202E⟩b', 'tab⟨U+0009⟩here', 'line\\nnext')
    """
    return "".join(f"⟨U+{ord(c):04X}⟩" if unicodedata.category(c) in _UNSEEN and c != "\n" else c for c in text)


def mixed(text: str) -> bool:
    """Whether one word mixes Latin letters with lookalikes of other scripts.

    >>> mixed("paypal"), mixed("p\\u0430ypal")
    (False, True)
    """
    for word in text.split():
        scripts = {unicodedata.name(c, "?").split(" ")[0] for c in word if c.isalpha()}
        if "LATIN" in scripts and scripts & {"CYRILLIC", "GREEK", "CHEROKEE", "ARMENIAN"}:
            return True
    return False


def _title(facts: Facts, integration: Integration | None) -> str:
    scopes = integration.scopes if integration is not None else {}
    return "; ".join(dict.fromkeys(scopes[p.scope].sentence if p.scope in scopes else p.operation for p in facts.parts))


def _host(facts: Facts) -> str:
    return facts.base_url.partition("://")[2] or facts.base_url


def _body(kept: Kept) -> tuple[str, tuple[Row, ...], str, bool]:
    if not kept.body:
        return "nothing", (), "", True
    kind = kept.header(b"content-type").partition(";")[0].strip().lower()
    if kept.header(b"content-encoding") not in ("", "identity"):
        return "a compressed body, which cannot be shown", (), "", False
    try:
        text = kept.body.decode("utf-8")
    except UnicodeDecodeError:
        return "bytes that are not text, which cannot be shown", (), "", False
    # SECURITY: cut or unreadable is not shown: the click then is not enough.
    # Guarded by tests/rules/test_render.py::test_what_cannot_be_read_whole_is_not_whole
    if len(text) > LONGEST_TEXT:
        return "a body too long to be read here", (), visible(text[:LONGEST_TEXT]), False
    if kind == "application/json" or kind.endswith("+json"):
        return _json(text)
    if kind == "application/x-www-form-urlencoded":
        rows = _pairs(kept.body)
        return "form", rows, "", len(rows) <= MOST_ROWS and not any(mixed(r.value) for r in rows)
    if kind.startswith("text/"):
        return "text", (), visible(text), not mixed(text)
    return "a body of a kind that cannot be shown", (), "", False


def _json(text: str) -> tuple[str, tuple[Row, ...], str, bool]:
    try:
        value = json.loads(text, object_pairs_hook=_members)
    except (ValueError, RecursionError):
        return "JSON with more than one reading, which cannot be shown", (), "", False
    if isinstance(value, dict) and isinstance(value.get("query"), str) and set(value) <= _GRAPHQL:
        rows = _flat({k: v for k, v in value.items() if k != "query"}, "")
        document = visible(value["query"])
        return "GraphQL", tuple(rows), document, len(rows) <= MOST_ROWS and not mixed(document)
    rows = _flat(value, "")
    is_whole = len(rows) <= MOST_ROWS and not any(mixed(r.value) for r in rows)
    return "JSON", tuple(rows[:MOST_ROWS]), "", is_whole


def _with_mails(rows: tuple[Row, ...], is_whole: bool) -> tuple[tuple[Row, ...], bool]:
    """A mail that Gmail is sent stands in `raw`, encoded: nobody reads that, so it is shown as it will be sent, too."""
    found: list[Row] = []
    for row in rows:
        found.append(row)
        if row.name == "raw" or row.name.endswith(".raw"):
            mail = _decoded(row.value)
            # SECURITY: what a mail encodes once more is not read here, so whoever looks has not seen it.
            # Guarded by tests/rules/test_render.py::test_a_mail_that_hides_its_words_is_not_whole
            is_whole = is_whole and mail is not None and not mixed(mail) and _ENCODED.search(mail) is None
            if mail is not None:
                found.append(Row(name=f"{row.name}, read", value=visible(mail)))
    return tuple(found), is_whole


def _decoded(text: str) -> str | None:
    """The text behind base64url, with or without its end; None where there is not one."""
    if len(text) > LONGEST_TEXT or not re.fullmatch(r"[A-Za-z0-9_-]+={0,2}", text):
        return None
    try:
        found = base64.urlsafe_b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4))
        return found.decode("utf-8").replace("\r\n", "\n")
    except ValueError:
        return None


_ENCODED: Final = re.compile(
    r"^content-transfer-encoding:\s*+(?!(?:7bit|8bit|binary)\s*$)|=\?[^?\s]+\?[bq]\?", re.IGNORECASE | re.MULTILINE
)
"""What says that words of a mail are not written as they are: RFC 2045 section 6, RFC 2047 section 2."""
_GRAPHQL: Final = frozenset({"query", "variables", "operationName", "extensions"})


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member appears twice")
    return members


def _flat(value: Any, at: str) -> list[Row]:
    """Every leaf, by where it is."""
    if isinstance(value, dict) and value:
        return [row for name, part in value.items() for row in _flat(part, f"{at}.{name}" if at else name)]
    if isinstance(value, list) and value:
        return [row for number, part in enumerate(value) for row in _flat(part, f"{at}[{number}]")]
    written = value if isinstance(value, str) else json.dumps(value)
    return [Row(name=visible(at) or "(all of it)", value=visible(written))]


def _pairs(raw: bytes) -> tuple[Row, ...]:
    found = []
    for pair in raw.decode("utf-8", "replace").split("&"):
        name, _, value = pair.partition("=")
        found.append(Row(name=visible(_plain(name)), value=visible(_plain(value))))
    return tuple(found)


def _plain(text: str) -> str:
    return unquote(text.replace("+", " "), errors="replace")
