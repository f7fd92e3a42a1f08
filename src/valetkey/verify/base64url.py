"""Base64url without padding, in its one canonical spelling (RFC 7515 section 2, RFC 4648 section 3.5)."""

from binascii import Error, a2b_base64, b2a_base64
from typing import Final

_TO_STANDARD: Final = bytes.maketrans(b"-_+/=", b"+/!!!")
_TO_URL: Final = bytes.maketrans(b"+/", b"-_")
_PADDING: Final = (b"", b"", b"==", b"=")
# The last character carries 4 or 2 bits that belong to no byte; canonical text leaves them zero. No text ends in a
# group of one.
_LAST: Final = (b"", b"", b"AQgw", b"AEIMQUYcgkosw048")


def encode(data: bytes) -> bytes:
    """Return `data` as unpadded base64url."""
    return b2a_base64(data, newline=False).rstrip(b"=").translate(_TO_URL)


def decode(text: bytes) -> bytes:
    """Return the bytes `text` spells. Raises `ValueError` for any spelling `encode` would not have produced.

    >>> decode(b"Zm9v"), encode(b"foo")
    (b'foo', b'Zm9v')
    """
    over = len(text) & 3
    try:
        data = a2b_base64(text.translate(_TO_STANDARD) + _PADDING[over])
    except Error:
        raise ValueError("not base64url") from None
    # SECURITY: the decoder skips characters it does not know, so a shorter result means there were some.
    # Guarded by tests/rules/test_jws.py::test_base64url_has_one_spelling
    if len(data) != len(text) * 3 // 4 or (over and text[-1] not in _LAST[over]):
        raise ValueError("not canonical base64url")
    return data
