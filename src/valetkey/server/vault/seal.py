"""Seals a secret for one place. Cannot open anything.

1. draw a fresh salt and nonce  2. derive the record's key and commitment  3. encrypt, bound to header and place
"""

import os

from valetkey.server.secret import Secret, SecretBytes
from valetkey.server.vault.aad import Place
from valetkey.server.vault.blob import LARGEST_PLAINTEXT, Blob, context, derive, header
from valetkey.server.vault.ring import KeyRing


def seal(ring: KeyRing, plaintext: Secret | SecretBytes | bytes, place: Place) -> bytes:
    """Return `plaintext` sealed under the ring's primary key, to be opened in `place` alone.

    Raises `ValueError` for text that is not Unicode and for more than 1 MiB.
    """
    if place.deployment != ring.deployment:
        raise ValueError("this ring seals for another deployment")
    key_id, dek = ring.primary
    salt, nonce = os.urandom(32), os.urandom(12)
    top = header(key_id=key_id, salt=salt, nonce=nonce)
    bound_to = context(top, place)
    cipher, commitment = derive(dek, salt=salt, bound_to=bound_to)
    ciphertext = cipher.encrypt(nonce, _octets(plaintext), bound_to)
    return Blob(key_id=key_id, salt=salt, nonce=nonce, commitment=commitment, ciphertext=ciphertext).encode()


def _octets(plaintext: Secret | SecretBytes | bytes) -> bytes:
    content: bytes | None
    match plaintext:
        case Secret():
            content = _utf8(plaintext)
        case SecretBytes():
            content = plaintext.reveal()
        case _:
            content = plaintext
    if content is None:
        raise ValueError("a text that is not Unicode cannot be sealed")
    if len(content) > LARGEST_PLAINTEXT:
        del content, plaintext  # SECURITY: not in the locals of a traceback
        raise ValueError(f"at most {LARGEST_PLAINTEXT} bytes can be sealed")
    return content


def _utf8(text: Secret) -> bytes | None:
    # SECURITY: the encoder's own error carries the whole text.
    try:
        return text.reveal().encode()
    except UnicodeEncodeError:
        return None
