"""One question to a key service, by the one way out: JSON or a form goes, one JSON object comes back.

What is sent holds a key or a credential, so nothing of it is in an error or a log: a refusal names the service, the
status and the service's own short code.
"""

import base64
import hashlib
import re
from collections.abc import Mapping
from typing import Final, NoReturn

from valetkey.server.egress import Egress
from valetkey.server.egress.url import Url, parsed
from valetkey.server.errors import InvalidRequest, UpstreamFailed
from valetkey.server.secret import SecretBytes
from valetkey.server.vault.aad import length_prefixed
from valetkey.server.vault.errors import KeyServiceAway, RootKeyRefused
from valetkey.verify.json import MalformedJson, parse_object

SECONDS: Final = 10.0
MOST_BYTES: Final = 65_536
_AWAY: Final = frozenset({408, 425, 429})
_CODE: Final = re.compile(r"[A-Za-z0-9_.:#-]{1,80}")


async def ask(
    egress: Egress, service: str, url: Url, body: bytes, headers: Mapping[str, str]
) -> tuple[int, dict[str, object]]:
    """POST `body`; return the status and what was answered. Raises `KeyServiceAway` for no answer, or a later one."""
    sent = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    try:
        status, _, answer = await egress.fetch("POST", url, sent, body=body, max_bytes=MOST_BYTES, timeout=SECONDS)
    except (UpstreamFailed, InvalidRequest) as error:
        raise KeyServiceAway(
            f"The key service {service} at {url.place} does not answer, or may not be asked there.", detail=error.detail
        ) from None
    if status >= 500 or status in _AWAY:
        raise KeyServiceAway(f"The key service {service} at {url.place} answers {status}: it cannot work now.")
    try:
        return status, parse_object(answer) if answer else {}
    except MalformedJson:
        raise KeyServiceAway(f"What answers at {url.place} is not the key service {service}.") from None


def address(text: str, *, what: str) -> Url:
    """The address an operator wrote. Raises `RootKeyRefused`."""
    try:
        return parsed(text)
    except InvalidRequest:
        raise RootKeyRefused(f"{what} is not an https address with a path: {text}") from None


def refuse(service: str, key: str, status: int, code: object) -> NoReturn:
    """Say that the service refused, in its own short word. Raises `RootKeyRefused`."""
    word = code if isinstance(code, str) and _CODE.fullmatch(code) else "no reason"
    raise RootKeyRefused(
        f"The key service {service} refuses to use {key}: {status}, {word}.",
        hint="Correct root_key, root_identity and root_secret, or what this identity may do with the key there.",
    )


def text_of(answer: Mapping[str, object], name: str, *, service: str) -> str:
    """A text the answer must hold. Raises `KeyServiceAway`."""
    value = answer.get(name)
    if not isinstance(value, str) or not value:
        raise KeyServiceAway(f"The key service {service} answered without {name}.")
    return value


def octets_of(answer: Mapping[str, object], name: str, *, service: str) -> SecretBytes:
    """Base64 the answer must hold, decoded. Raises `KeyServiceAway`."""
    try:
        return SecretBytes(base64.b64decode(text_of(answer, name, service=service), validate=True))
    except ValueError:
        raise KeyServiceAway(f"The key service {service} answered {name} in another form.") from None


def bound(context: Mapping[str, str]) -> bytes:
    """The context as 32 bytes, for services that authenticate bytes."""
    fields = (part.encode() for name in sorted(context) for part in (name, context[name]))
    return hashlib.sha256(length_prefixed(b"valetkey root context 1", *fields)).digest()
