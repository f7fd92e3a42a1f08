"""Short codes that a person types or compares: one alphabet, one spelling, wherever one is shown (RFC 8628). Pure."""

import re
from typing import Final

ALPHABET: Final = "BCDFGHJKLMNPQRSTVWXZ"
"""No vowels, so that no words come out, and nothing that is read for something else (RFC 8628 section 6.1)."""
CODE_LETTERS: Final = 8  # 20 ** 8: 34.6 bits, and few tries
_TYPED: Final = re.compile(f"[{ALPHABET}]{{{CODE_LETTERS}}}")


def from_digest(digest: bytes) -> str:
    """The code that stands for 32 bytes nobody can guess: what is left over by the division is below 2 ** -220.

    >>> from_digest(bytes(32)), from_digest((20 ** 8 + 1).to_bytes(32, "big"))
    ('BBBBBBBB', 'BBBBBBBC')
    """
    number, letters = int.from_bytes(digest, "big"), []
    for _ in range(CODE_LETTERS):
        number, letter = divmod(number, len(ALPHABET))
        letters.append(ALPHABET[letter])
    return "".join(reversed(letters))


def spelled(code: str) -> str:
    """A user code as it is shown.

    >>> spelled("WDJBMJHT")
    'WDJB-MJHT'
    """
    return f"{code[:4]}-{code[4:]}"


def typed(text: str) -> str | None:
    """What a person typed as the code it can only be, or None. Case, spaces and dashes are theirs to choose.

    >>> typed(" wdjb mjht "), typed("WDJB-MJHT"), typed("WDJB-MJHA"), typed("WDJB-MJH")
    ('WDJBMJHT', 'WDJBMJHT', None, None)
    """
    if len(text) > 4 * CODE_LETTERS or not text.isascii():
        return None
    code = re.sub(r"[\s-]", "", text).upper()
    return code if _TYPED.fullmatch(code) is not None else None
