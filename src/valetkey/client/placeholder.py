"""The placeholder a child process holds instead of a credential, and where in a request clients put it.

Good for one run, at one loopback port, and nothing else. Compared in constant time.
"""

import binascii
import hmac
import secrets
from base64 import b64decode, b64encode
from collections.abc import Iterable
from typing import Final

PREFIX: Final = "vkrun-"


class NotHeld(Exception):
    """The request does not hold the placeholder in exactly one place."""


def new_placeholder() -> str:
    """A fresh one, with 256 bits of randomness."""
    return PREFIX + secrets.token_hex(32)


def put(headers: Iterable[tuple[str, str]], *, placeholder: str, credential: str) -> list[tuple[str, str]]:
    """The headers with the credential in the place of the placeholder. Raises `NotHeld`.

    The place may be a whole value, what follows a scheme (`Bearer …`, `token …`), or either half of a Basic pair.
    """
    led: list[tuple[str, str]] = []
    places = 0
    for name, value in headers:
        changed = _replaced(value, placeholder, credential)
        places += changed is not None
        led.append((name, value if changed is None else changed))
    # SECURITY: a second filled place could hold somebody's real token, which must not travel with ours.
    if places != 1 or sum(name.lower() == "authorization" for name, _ in led) > 1:
        raise NotHeld
    return led


def without(headers: Iterable[tuple[str, str]], *, placeholder: str) -> list[tuple[str, str]]:
    """The headers but the one that holds the placeholder."""
    return [(name, value) for name, value in headers if _replaced(value, placeholder, "") is None]


def _replaced(value: str, placeholder: str, credential: str) -> str | None:
    value = value.strip()
    if _same(value, placeholder):
        return credential
    scheme, _, rest = value.partition(" ")
    rest = rest.strip()
    if _same(rest, placeholder):
        return f"{scheme} {credential}"
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = b64decode(rest, validate=True).decode("latin-1").partition(":")
    except (binascii.Error, ValueError):
        return None
    if _same(password, placeholder):
        pair = f"{user}:{credential}"
    elif _same(user, placeholder):
        pair = f"{credential}{colon}{password}"
    else:
        return None
    return "Basic " + b64encode(pair.encode("latin-1")).decode()


def _same(offered: str, placeholder: str) -> bool:
    return hmac.compare_digest(offered.encode("latin-1", "replace"), placeholder.encode())
