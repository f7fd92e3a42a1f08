"""How the certificates of databases are verified: in full, by the system's authorities and ours, and never less."""

import ssl
from collections.abc import Sequence
from typing import TypeVar

C = TypeVar("C", bound=ssl.SSLContext)


def verifying(context: C, roots: Sequence[bytes]) -> C:
    """The same context, made for a client, trusting `roots` (PEM) besides the system's."""
    context.load_default_certs()
    for root in roots:
        context.load_verify_locations(cadata=root.decode("ascii"))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
