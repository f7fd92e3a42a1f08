"""What proves a person, and the rules that need no store: lengths, one-time codes, and how long to wait. Pure."""

import base64
import hashlib
import hmac
import unicodedata
from dataclasses import dataclass
from typing import Final

from valetkey.server.errors import InvalidRequest
from valetkey.server.secret import Secret, SecretBytes
from valetkey.server.vault.aad import length_prefixed

FRESH_SECONDS: Final = 600
"""How recently a person must have proved themselves to change how they sign in."""

SHORTEST_PASSWORD: Final = 12  # characters
LONGEST_PASSWORD: Final = 256

STEP_SECONDS: Final = 30  # RFC 6238 section 4.1
DIGITS: Final = 6
SECRET_BYTES: Final = 20  # RFC 4226 section 4: the length of the hash

LONGEST_NAME: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Passkey:
    """A public key of somebody's authenticator. `sign_count` is 0 where it keeps none. Times in seconds."""

    credential: bytes
    user: str
    name: str
    public_key: bytes
    sign_count: int
    created_at: int
    last_used_at: int | None = None

    @property
    def id(self) -> str:
        """The credential's name, as browsers spell it."""
        return base64.urlsafe_b64encode(self.credential).rstrip(b"=").decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Somebody as an identity provider knows them; the pair never changes hands (OIDC Core section 5.7)."""

    issuer: str
    subject: str
    user: str
    created_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """Everything somebody can sign in with."""

    passkeys: tuple[Passkey, ...]
    has_password: bool
    has_one_time: bool  # confirmed: always asked after the password
    identities: tuple[Identity, ...]
    recovery_codes_left: int

    @property
    def count(self) -> int:
        """How many of them open the door. One-time and recovery codes only follow a password."""
        return len(self.passkeys) + len(self.identities) + self.has_password


def challenge_of(about: bytes, nonce: bytes) -> bytes:
    """What a passkey signs to agree to one thing: different for each thing, and for each time.

    >>> challenge_of(b"this", b"n") == challenge_of(b"thi", b"sn"), len(challenge_of(b"this", b"n"))
    (False, 32)
    """
    return hashlib.sha256(length_prefixed(b"valetkey passkey signature 1", about, nonce)).digest()


def checked_password(text: str) -> Secret:
    """The password in its one spelling (NFKC). Raises `InvalidRequest` for one that is too short or too long."""
    password = unicodedata.normalize("NFKC", text)
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise InvalidRequest(
            f"A password has {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters.",
            hint="Several words in a row are easy to remember and hard to guess.",
        )
    return Secret(password)


def shown_name(text: str, otherwise: str) -> str:
    """A label somebody chose, in one line, without characters that reorder or hide others.

    >>> shown_name("  My\\u202e  phone\\u200b ", "Passkey"), shown_name("\\u200b", "Passkey")
    ('My phone', 'Passkey')
    """
    kept = [c for c in unicodedata.normalize("NFC", text) if unicodedata.category(c) not in _UNSEEN or c == " "]
    return " ".join("".join(kept).split())[:LONGEST_NAME] or otherwise


_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def one_time_code(secret: SecretBytes, step: int) -> str:
    """The code of a step (RFC 4226 section 5.3, RFC 6238 section 4.2).

    >>> one_time_code(SecretBytes(b"12345678901234567890"), 59 // 30)
    '287082'
    """
    digest = hmac.digest(secret.reveal(), step.to_bytes(8, "big"), hashlib.sha1)
    at = digest[-1] & 15
    return str((int.from_bytes(digest[at : at + 4], "big") & 0x7FFF_FFFF) % 10**DIGITS).zfill(DIGITS)


def matching_step(secret: SecretBytes, code: str, *, now: float, after: int) -> int | None:
    """The step a code is for, one either side of now at most, and later than the last one used."""
    digits = "".join(code.split())
    if len(digits) != DIGITS or not digits.isascii() or not digits.isdigit():
        return None
    present = int(now) // STEP_SECONDS
    matching = [
        step for step in range(present - 1, present + 2) if hmac.compare_digest(one_time_code(secret, step), digits)
    ]
    return next((step for step in matching if step > after), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How many failures are free, and how long one waits after the next: doubling, up to a longest wait."""

    free: int
    longest_seconds: int

    def wait(self, failures: int) -> int:
        """Seconds to wait after so many failures in a row.

        >>> [Patience(free=2, longest_seconds=5).wait(n) for n in range(7)]
        [0, 0, 0, 1, 2, 4, 5]
        """
        over = failures - self.free
        return 0 if over <= 0 else min(1 << min(over - 1, 20), self.longest_seconds)


FORGET_SECONDS: Final = 3600
"""Failures older than this count no more."""

PAIR: Final = Patience(free=5, longest_seconds=900)
IDENTITY: Final = Patience(free=10, longest_seconds=60)
ADDRESS: Final = Patience(free=50, longest_seconds=60)
