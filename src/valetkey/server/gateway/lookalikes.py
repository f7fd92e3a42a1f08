"""Characters that make a path segment read differently to different readers.

Responsible for one question about decoded text; refuses to know escapes, requests and policy. Unicode normalisation
forms: UAX #15.
"""

import unicodedata
from typing import Final

_ALLOWED_FORMAT: Final = "\u200c\u200d"  # the joiners: letters in some scripts, and parts of emoji
_SLASH_SHAPED: Final = frozenset("\u2044\u2215\u2216\u2571\u2572\u27cb\u27cd\u29f5\u29f8\u29f9")
_SYNTAX: Final = frozenset("./\\%")


def why_unclear(text: str) -> str | None:
    """Return what in `text` two readers could take differently, in words, or None.

    >>> why_unclear("résumé.md") is None
    True
    >>> why_unclear("a\\uff0e\\uff0eb")
    'a character that normalises to a dot, slash or percent sign'
    """
    if text.isascii():
        return None if text.isprintable() else "a control character"
    if not unicodedata.is_normalized("NFC", text):
        return "text that is not in normal form NFC"
    for character in text:
        category = unicodedata.category(character)
        if category in {"Cc", "Cn", "Co", "Cs", "Zl", "Zp"} or (category == "Cf" and character not in _ALLOWED_FORMAT):
            return "a control or unassigned character"
        if character.isascii():
            continue
        if character in _SLASH_SHAPED or not _SYNTAX.isdisjoint(unicodedata.normalize("NFKC", character)):
            return "a character that normalises to a dot, slash or percent sign"
    return None
