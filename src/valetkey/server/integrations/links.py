"""Whether a text leads elsewhere: a link somebody may follow, or a picture that is fetched when it is shown. Pure.

Finds rather too much than too little. What is found is one judged parameter of a call, `links`, for rules to look at.
"""

import html
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from valetkey.server.integrations.model import Match

_NEEDED: Final = frozenset(".:&")
"""One of these stands in every address, or stands for a character of one; most texts say nothing of the kind."""

LINKS: Final = "links"
OUTSIDE: Final = "outside"

# Whoever runs these shows nobody who asked for what: an address there tells nothing to who wrote it. Whole hosts only.
_KNOWN: Final = re.compile(r"https://(?:github\.com|linear\.app)(?=[/?#|>\s\"')\]]|$)")
_SOMEWHERE: Final = re.compile(
    r"[a-z0-9+.-]:[/\\]+[^\s/\\]"  # a scheme and what follows
    r"|//[^\s/.。｡]{1,63}[.。｡]"  # without a scheme
    r"|\bwww[.。｡]"
    r"|[\w-][.。｡][a-z]{2,24}[/?]"  # a bare name with an address after it
)


def leads_outside(text: str) -> bool:
    """Whether it holds an address of a place that is not known to keep quiet.

    >>> leads_outside("see https://github.com/acme/x/pull/1"), leads_outside("![](https://evil.example/?d=1)")
    (False, True)
    """
    if text.isascii() and _NEEDED.isdisjoint(text):
        return False
    seen = html.unescape(text)
    seen = "".join(c for c in unicodedata.normalize("NFKC", seen) if unicodedata.category(c) != "Cf").lower()
    return any(_SOMEWHERE.search(_KNOWN.sub(" ", one)) for one in (seen, seen.replace("\\", "")))


def texts_of(value: object) -> Iterable[str]:
    """Every text in a value, at every depth."""
    waiting = [value]
    while waiting:
        match waiting.pop():
            case str() as text:
                yield text
            case dict() as members:
                waiting += [*members, *members.values()]
            case list() | tuple() as items:
                waiting += items


def marked(matches: Sequence[Match]) -> list[Match]:
    """The same, each write with the parameter that says it."""
    return [_marked(match) if match.operation.access == "write" else match for match in matches]


def _marked(match: Match) -> Match:
    # NOTE: what says nothing names nothing (`resource_of`), and leaves anyway: nobody knows who can read it.
    if not match.fields and match.ref is None:
        return match
    operation = replace(match.operation, judged=(*match.operation.judged, LINKS))
    return replace(match, operation=operation, fields={**match.fields, LINKS: OUTSIDE})
