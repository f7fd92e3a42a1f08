"""The root of a Merkle tree: one digest that stands for a list, and says where a leaf is a leaf and a node a node.

Spec: RFC 6962 section 2.1, with SHA-256.
"""

from collections.abc import Sequence
from hashlib import sha256


def root(leaves: Sequence[bytes]) -> bytes:
    """Return the Merkle tree hash of `leaves`.

    >>> root([]).hex()[:8], root([b""]).hex()[:8]
    ('e3b0c442', '6e340b9c')
    """
    if not leaves:
        return sha256().digest()
    if len(leaves) == 1:
        return sha256(b"\x00" + leaves[0]).digest()
    left = 1 << (len(leaves) - 1).bit_length() - 1  # the largest power of two below the length
    return sha256(b"\x01" + root(leaves[:left]) + root(leaves[left:])).digest()
