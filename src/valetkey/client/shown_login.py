"""Signing in from a computer without a browser: the address for another one, and the code that is shown there.

Nothing listens and nothing is asked again and again: the person carries the code, which is worth nothing to whoever
does not hold the verifier. Specs: RFC 7636.
"""

import base64
import hashlib
import secrets
from typing import Final
from urllib.parse import urlencode

SHOWN: Final = "urn:valetkey:shown"
_LONGEST_NAME: Final = 64


class ShownLogin:
    """One attempt. `url` is for the browser, `comparison` stands on its page too, `verifier` is for the exchange."""

    redirect_uri: Final = SHOWN

    def __init__(self, issuer: str, *, name: str) -> None:
        self.verifier = secrets.token_urlsafe(32)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(self.verifier.encode()).digest()).rstrip(b"=").decode()
        self.comparison = comparison(challenge)
        asked = {
            "redirect_uri": SHOWN,
            "state": secrets.token_urlsafe(32),
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            "name": name[:_LONGEST_NAME],
        }
        self.url = f"{issuer}/login/cli?{urlencode(asked)}"


def comparison(challenge: str) -> str:
    """What both sides show of a challenge.

    >>> comparison("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM")
    'CCWY-LX2F'
    """
    text = base64.b32encode(hashlib.sha256(challenge.encode()).digest()).decode()
    return f"{text[:4]}-{text[4:8]}"
