"""A root key locked by a passphrase: Argon2id (RFC 9106) turns the passphrase into the key that opens the file.

The file holds the salt, the cost and the locked root key. The root key itself is random, so a new passphrase will not
change what was derived from it. Refuses a file whose cost was lowered, or raised until it hurts.
"""

import json
import os
import unicodedata
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from valetkey.server.secret import Secret, SecretBytes
from valetkey.server.vault.errors import RootKeyRefused
from valetkey.server.vault.kms.private_file import create_once, read_private
from valetkey.server.vault.kms.root import ROOT_BYTES, HeldRoot

SHORTEST_PASSPHRASE: Final = 16  # characters
_LARGEST_FILE: Final = 1024  # bytes
_LABEL: Final = b"valetkey passphrase root 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cost:
    """RFC 9106 section 4, second recommended option, which is also the least accepted."""

    iterations: int = 3
    lanes: int = 4
    memory_kib: int = 64 * 1024

    def is_fair(self) -> bool:
        whole = all(type(number) is int for number in (self.iterations, self.lanes, self.memory_kib))
        few = 3 <= self.iterations <= 16 and 1 <= self.lanes <= 16
        return whole and few and 64 * 1024 <= self.memory_kib <= 1024 * 1024


class PassphraseRoot(HeldRoot):
    """A root key that a stolen disk does not give away."""

    __slots__ = ()

    @classmethod
    def load(cls, path: Path, passphrase: Secret) -> "PassphraseRoot":
        """Return the root key locked in `path`. Raises `RootKeyRefused`, also for a wrong passphrase."""
        salt, cost, locked = _parse(read_private(path, at_most=_LARGEST_FILE).reveal(), path)
        key = _unlock(locked, _key(passphrase, salt, cost))
        if key is None:
            raise RootKeyRefused(
                f"The passphrase does not open {path}.", hint="Give the passphrase it was created with, exactly."
            )
        return cls(key)

    @classmethod
    def load_or_create(cls, path: Path, passphrase: Secret) -> "PassphraseRoot":
        """Return the root key locked in `path`, creating it if there is none. Of many who create at once, one wins."""
        create_once(path, lambda: _new_file(passphrase))
        return cls.load(path, passphrase)


def _new_file(passphrase: Secret) -> SecretBytes:
    if len(passphrase.reveal()) < SHORTEST_PASSPHRASE:
        raise RootKeyRefused(
            f"A passphrase for the root key has at least {SHORTEST_PASSPHRASE} characters.",
            hint="Choose a longer one, such as six random words.",
        )
    salt, nonce, cost = os.urandom(16), os.urandom(12), _Cost()
    cipher = AESGCMSIV(_key(passphrase, salt, cost).reveal())
    locked = nonce + cipher.encrypt(nonce, os.urandom(ROOT_BYTES), _LABEL)
    members = {"format": 1, "kdf": "argon2id", "salt": salt.hex(), **asdict(cost), "locked": locked.hex()}
    return SecretBytes(json.dumps(members, indent=1).encode() + b"\n")


def _parse(content: bytes, path: Path) -> tuple[bytes, _Cost, bytes]:
    try:
        members = json.loads(content)
        form = members.pop("format"), members.pop("kdf")
        salt, locked = bytes.fromhex(members.pop("salt")), bytes.fromhex(members.pop("locked"))
        cost = _Cost(**members)
        whole = form == (1, "argon2id") and len(salt) == 16 and len(locked) == 12 + ROOT_BYTES + 16 and cost.is_fair()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        whole = False
    if not whole:
        raise RootKeyRefused(f"{path} is not a root key locked by a passphrase, or was cut short or changed.")
    return salt, cost, locked


def _key(passphrase: Secret, salt: bytes, cost: _Cost) -> SecretBytes:
    # The same text typed on another keyboard may arrive as other code points (RFC 8265 section 4.2).
    typed = unicodedata.normalize("NFC", passphrase.reveal()).encode("utf-8", "surrogatepass")
    kdf = Argon2id(salt=salt, length=32, iterations=cost.iterations, lanes=cost.lanes, memory_cost=cost.memory_kib)
    return SecretBytes(kdf.derive(typed))


def _unlock(locked: bytes, key: SecretBytes) -> SecretBytes | None:
    try:
        return SecretBytes(
            AESGCMSIV(key.reveal()).decrypt(locked[:12], locked[12:], _LABEL)
        )  # salt and cost made the key
    except InvalidTag:
        return None
