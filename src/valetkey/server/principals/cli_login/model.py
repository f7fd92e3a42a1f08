"""What a program at a person's computer asks for, read strictly, and what was signed in. Pure.

Specs: RFC 8252 section 7.3 (loopback), RFC 7636 (PKCE), RFC 9700 section 2.1.
"""

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from valetkey.server.errors import InvalidRequest
from valetkey.server.principals.login.model import shown_name

CODE_SECONDS: Final = 60
SHOWN: Final = "urn:valetkey:shown"
"""Where the answer goes when the program is on another computer than the browser: onto the page, to be typed there."""
SHOWN_SECONDS: Final = 300
NAMELESS: Final = "a computer without a name"

_REDIRECT: Final = re.compile(r"http://(?:127\.0\.0\.1|\[::1\]):([1-9][0-9]{0,4})/callback")
_STATE: Final = re.compile(r"[A-Za-z0-9._~-]{22,128}")
_CHALLENGE: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_VERIFIER: Final = re.compile(r"[A-Za-z0-9._~-]{43,128}")
_ASKED: Final = frozenset({"redirect_uri", "state", "code_challenge", "code_challenge_method", "name"})
_LONGEST_GIVEN: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What stands in the address the program opened. `name` is what it calls its computer; nobody proved it."""

    redirect_uri: str
    state: str
    challenge: str
    unverified_name: str

    @property
    def origin(self) -> str:
        """Where the answer goes, as a Content-Security-Policy calls it; empty where it goes nowhere."""
        return "" if self.is_shown else self.redirect_uri.removesuffix("/callback")

    @property
    def is_shown(self) -> bool:
        """Whether the code is shown to the person, who carries it to the program."""
        return self.redirect_uri == SHOWN

    @property
    def seconds(self) -> int:
        """How long a code lives that was given for it."""
        return SHOWN_SECONDS if self.is_shown else CODE_SECONDS

    @property
    def comparison(self) -> str:
        """What the program shows as well, so that a person sees whether the page is about it.

        >>> Asked(redirect_uri=SHOWN, state="", challenge="E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
        ...       unverified_name="").comparison
        'CCWY-LX2F'
        """
        text = base64.b32encode(hashlib.sha256(self.challenge.encode()).digest()).decode()
        return f"{text[:4]}-{text[4:8]}"

    def fields(self) -> dict[str, str]:
        """The same as parameters, to be read again by `asked`."""
        return {
            "redirect_uri": self.redirect_uri,
            "state": self.state,
            "code_challenge": self.challenge,
            "code_challenge_method": "S256",
            "name": self.unverified_name,
        }


def asked(parameters: Mapping[str, str]) -> Asked:
    """Read the parameters. Raises `InvalidRequest`, and whoever is told is never sent anywhere.

    >>> challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    >>> good = {"redirect_uri": "http://127.0.0.1:5/callback", "state": "s" * 22, "code_challenge": challenge,
    ...         "code_challenge_method": "S256", "name": " my\\u202e  laptop "}
    >>> asked(good).unverified_name
    'my laptop'
    >>> asked(good | {"redirect_uri": "http://localhost:5/callback"})
    Traceback (most recent call last):
    valetkey.server.errors.InvalidRequest: The answer can only go to a program on the computer of this browser.
    """
    if unknown := parameters.keys() - _ASKED:
        raise InvalidRequest(f"This address takes no {min(unknown)[:40]!r}.")
    redirect_uri = parameters.get("redirect_uri", "")
    found = _REDIRECT.fullmatch(redirect_uri)
    # SECURITY: an IP literal, because `localhost` may be somebody else's name, and nothing but a port is free.
    # Guarded by tests/flows/test_cli_login.py::test_the_answer_goes_to_this_computer_or_nowhere
    if redirect_uri != SHOWN and (found is None or int(found[1]) > 65_535):
        raise InvalidRequest(
            "The answer can only go to a program on the computer of this browser.",
            hint="Start again at the command line: valetkey login",
        )
    if _STATE.fullmatch(parameters.get("state", "")) is None:
        raise InvalidRequest("state has 22 to 128 unreserved characters.")
    if parameters.get("code_challenge_method") != "S256":
        raise InvalidRequest("code_challenge_method must be S256.")
    challenge = parameters.get("code_challenge", "")
    if _CHALLENGE.fullmatch(challenge) is None:
        raise InvalidRequest("code_challenge is not the base64url of a SHA-256 digest.")
    name = parameters.get("name", "")
    if len(name) > _LONGEST_GIVEN:
        raise InvalidRequest(f"The name of a computer has at most {_LONGEST_GIVEN} characters.")
    return Asked(
        redirect_uri=redirect_uri,
        state=parameters["state"],
        challenge=challenge,
        unverified_name=shown_name(name, NAMELESS),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """A code as it is kept: for one program, and for as long as the browser it was given in stays signed in."""

    id: str
    org: str
    user: str
    session: str
    name: str
    redirect_uri: str
    challenge: str
    expires_at: int
    used_at: int | None = None
    credential: str | None = None  # what it opened

    def is_bound_to(self, verifier: str, redirect_uri: str) -> bool:
        """RFC 7636 section 4.6, RFC 6749 section 4.1.3.

        >>> challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"  # RFC 7636 appendix B
        >>> facts = dict.fromkeys(("id", "org", "user", "session", "name"), "")
        >>> code = Code(**facts, redirect_uri="r", challenge=challenge, expires_at=0)
        >>> code.is_bound_to("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", "r"), code.is_bound_to("x" * 43, "r")
        (True, False)
        """
        digest = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        return is_verifier(verifier) and digest == self.challenge and redirect_uri == self.redirect_uri


def is_verifier(text: str) -> bool:
    """Whether it has the shape of RFC 7636 section 4.1."""
    return _VERIFIER.fullmatch(text) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLine:
    """One that is signed in. `name` is None where it was by a one-time code."""

    id: str
    org: str
    user: str
    name: str | None
    created_at: int
    expires_at: int
