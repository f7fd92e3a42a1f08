"""Names for things: object ids (time-ordered, random) and opaque handles (unguessable, checksummed).

An id is public; a handle is a secret. A handle is `vk` + kind + `_` + 43 base62 characters (256 bit) + 6 base62
characters of the CRC-32 over everything before, so scanners recognise it and a mistyped one never reaches the store.
"""

import os
import re
import secrets
import time
import zlib
from functools import lru_cache
from typing import Final, Literal

from valetkey.server.secret import Secret

_BASE62: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BASE32: Final = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford: order of text is order of time

_BASE32_PAIRS: Final = tuple(first + second for first in _BASE32 for second in _BASE32)
_SECOND_SHIFTS: Final = tuple(range(30, -1, -10))
_FIVE_BITS: Final = (_BASE32 * 8).encode()  # of each byte, as a character: 256 is a multiple of 32, so none is likelier

_AT_ONCE: Final = 256
_RANDOM: Final[list[str]] = []
os.register_at_fork(after_in_child=_RANDOM.clear)  # two processes must not give out the same ids

IdKind = Literal[
    "org", "usr", "agt", "svc", "ses", "dlg", "tsk", "con", "apr", "lse", "tok", "pol", "aud",
    "cli", "rsv", "idp", "iss", "req", "app", "eng", "lnk", "cnc", "ntf",
]  # fmt: skip
HandleKind = Literal[
    "ag", "sa", "cl", "in", "ev", "bs", "se", "gu", "st", "rq", "co", "rf", "dv", "bc", "ia", "rm", "cs", "en",
    "lc",
]  # fmt: skip
"""ag agent secret, sa service-account secret, cl user's CLI credential, in invitation, ev evidence, bs bootstrap,
se session, gu a browser not signed in, st a step of signing in, rq authorization request, co authorization code,
rf refresh token, dv device code, bc backchannel request, ia initial access token, rm registration management,
cs state of linking an account, en engine secret, lc code that signs a command line in."""

_ID: Final = re.compile(
    r"(?:org|usr|agt|svc|ses|dlg|tsk|con|apr|lse|tok|pol|aud|cli|rsv|idp|iss|req|app|eng|lnk|cnc|ntf)_[0-9a-hjkmnp-tv-z]{26}"
)
HANDLE_PATTERN: Final = r"vk(?:ag|sa|cl|in|ev|bs|se|gu|st|rq|co|rf|dv|bc|ia|rm|cs|en|lc)_[0-9A-Za-z]{49}"
_HANDLE: Final = re.compile(HANDLE_PATTERN)


def new_id(kind: IdKind) -> str:
    """Return a fresh id: 58 bits of time (milliseconds and 1,024ths of them), 70 of randomness, in base 32.

    So fine that what one transaction records is also listed in the order in which it happened.
    """
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    fine = _BASE32_PAIRS[milliseconds & 1023] + _BASE32_PAIRS[(rest << 10) // 1_000_000]
    return f"{kind}_{_spelled(milliseconds >> 10)}{fine}{_seventy_bits()}"


@lru_cache(maxsize=2)
def _spelled(seconds: int) -> str:
    """The part that is the same for about a second."""
    return "".join(_BASE32_PAIRS[(seconds >> shift) & 1023] for shift in _SECOND_SHIFTS)


def _seventy_bits() -> str:
    """Fourteen random characters nobody had before. Asked of the system for many: every call needs several ids."""
    try:
        return _RANDOM.pop()
    except IndexError:
        fresh = os.urandom(14 * _AT_ONCE).translate(_FIVE_BITS).decode()
        _RANDOM.extend(fresh[at : at + 14] for at in range(14, len(fresh), 14))
        return fresh[:14]


def is_id(text: str, kind: IdKind | None = None) -> bool:
    """Whether `text` has the shape of an id (of that kind)."""
    return _ID.fullmatch(text) is not None and (kind is None or text.startswith(kind + "_"))


def new_handle(kind: HandleKind) -> Secret:
    """Return a fresh opaque handle with 256 bits of randomness."""
    body = f"vk{kind}_" + _base62(secrets.randbits(256), 43)
    return Secret(body + _base62(zlib.crc32(body.encode()), 6))


def is_handle(text: str, kind: HandleKind) -> bool:
    """Whether `text` has the shape and checksum of a handle of that kind. Not a proof of anything else."""
    if _HANDLE.fullmatch(text) is None or not text.startswith(f"vk{kind}_"):
        return False
    return _base62(zlib.crc32(text[:-6].encode()), 6) == text[-6:]


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(_BASE62[digit])
    return "".join(reversed(digits))
