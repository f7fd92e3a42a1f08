"""Opens a sealed record in its place, or fails with one sentence that never says why.

1. parse  2. find the data key by its id  3. compare the commitment in constant time  4. decrypt
"""

import hmac

from cryptography.exceptions import InvalidTag

from valetkey.server.secret import Secret, SecretBytes
from valetkey.server.vault.aad import Place
from valetkey.server.vault.blob import context, derive, parse
from valetkey.server.vault.errors import VaultError
from valetkey.server.vault.ring import KeyRing


def open_sealed(ring: KeyRing, blob: bytes, place: Place) -> Secret:
    """Return the text sealed in `blob` for `place`.

    Raises `VaultError`, the same for every cause: another place, another key, damage, or bytes that are not text.
    """
    opened = _text(_opened(ring, blob, place))
    if opened is None:
        raise VaultError
    return opened


def open_sealed_bytes(ring: KeyRing, blob: bytes, place: Place) -> SecretBytes:
    """Return the bytes sealed in `blob` for `place`. Raises `VaultError`, the same for every cause."""
    opened = _opened(ring, blob, place)
    if opened is None:
        raise VaultError
    return opened


def _opened(ring: KeyRing, blob: bytes, place: Place) -> SecretBytes | None:
    parts = parse(blob)
    if parts is None:
        return None
    dek = ring.dek(parts.key_id)
    if dek is None:
        return None
    bound_to = context(parts.header, place)
    cipher, commitment = derive(dek, salt=parts.salt, bound_to=bound_to)
    # SECURITY: before the cipher is used at all: GCM lets one ciphertext open under two keys, the commitment does not.
    # Guarded by tests/attacks/test_vault.py::test_a_ciphertext_made_to_fit_two_keys_opens_under_one_only
    if not hmac.compare_digest(commitment, parts.commitment):
        return None
    try:
        return SecretBytes(cipher.decrypt(parts.nonce, parts.ciphertext, bound_to))
    except InvalidTag:
        return None


def _text(opened: SecretBytes | None) -> Secret | None:
    try:
        return None if opened is None else Secret(opened.reveal().decode())
    except UnicodeDecodeError:
        return None
