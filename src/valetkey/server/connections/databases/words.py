"""What is sealed of a connected login."""

import msgspec

from valetkey.server.secret import Secret


class Words(msgspec.Struct):
    """What is sealed: the login's password, and the next one while it is being changed."""

    password: str
    next: str | None = None


def sealed(words: Words) -> Secret:
    """The words as they are sealed."""
    return Secret(msgspec.json.encode(words).decode())


def opened(secret: Secret) -> Words:
    """The words that were sealed."""
    return msgspec.json.decode(secret.reveal(), type=Words)
