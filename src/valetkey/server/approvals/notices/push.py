"""A browser that asked to be told: its subscription, read strictly, and the message it gets (RFC 8030, 8291). Pure."""

import binascii
from base64 import urlsafe_b64decode
from dataclasses import dataclass
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from valetkey.server.approvals.notices.encrypted import PADDED_BYTES
from valetkey.server.approvals.notices.model import LONGEST_ADDRESS, Message
from valetkey.server.egress.url import Url, parsed
from valetkey.server.errors import InvalidRequest

LONGEST: Final = 2_000
_SUBSCRIBE_AGAIN: Final = "Reload the page and press the button again."


class _Keys(msgspec.Struct, frozen=True):
    p256dh: str
    auth: str


class _Sent(msgspec.Struct, frozen=True):  # what `PushSubscription.toJSON()` gives; `expirationTime` is not used
    endpoint: str
    keys: _Keys


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """Where one browser is reached, its public key, and the secret it shares with us alone."""

    url: Url
    key: bytes
    auth: bytes


def subscription_of(text: str) -> Subscription:
    """What a browser sent of its subscription. Raises `InvalidRequest`."""
    try:
        if len(text) > LONGEST:
            raise ValueError("too long")
        sent = msgspec.json.decode(text, type=_Sent)
        key, auth = _octets(sent.keys.p256dh), _octets(sent.keys.auth)
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), key)  # a point of the curve, or ValueError
    except (msgspec.DecodeError, ValueError) as error:
        raise InvalidRequest("This is no subscription of a browser.", hint=_SUBSCRIBE_AGAIN) from error
    if len(key) != 65 or len(auth) != 16 or len(sent.endpoint) > LONGEST_ADDRESS:
        raise InvalidRequest("This is no subscription of a browser.", hint=_SUBSCRIBE_AGAIN)
    return Subscription(url=parsed(sent.endpoint), key=key, auth=auth)


def shown(message: Message) -> bytes:
    """What the browser's worker is told to show."""
    body = msgspec.json.encode({"body": message.words, "link": message.link})
    if len(body) <= PADDED_BYTES:
        return body
    return msgspec.json.encode({"body": f"{message.count} calls wait for you.", "link": message.link})


def _octets(text: str) -> bytes:
    try:
        return urlsafe_b64decode(text + "=" * (-len(text) % 4)) if text.isascii() else b""
    except binascii.Error:
        return b""
