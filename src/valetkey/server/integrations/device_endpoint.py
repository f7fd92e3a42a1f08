"""What is said to an API's device authorization endpoint, and how its answer is read (RFC 8628 sections 3.1 and 3.2).

Refuses to know how it is sent, who waits for it, and what becomes of the codes.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urlsplit

from valetkey.server.integrations.authorization import OAuth
from valetkey.server.integrations.token_endpoint import (
    Refused,
    TokenRequest,
    UnreadableAnswer,
    document_in,
    is_credential,
    text_at,
    token_request,
)
from valetkey.server.secret import Secret

USUAL_SECONDS: Final = 5
"""How long to wait between two questions when the API does not say (RFC 8628 section 3.2)."""
_LONGEST_SECONDS: Final = 3_600
_TYPEABLE: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,62}[\x21-\x7e])?")
_ADDRESS: Final = re.compile(r"https?://[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]{1,2000}")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceCode:
    """What an API gave: `user_code` and `page` are for the person's eyes, `code` is nobody's but ours."""

    code: Secret
    user_code: str
    page: str
    lasts_seconds: int
    wait_seconds: int


def device_request(oauth: OAuth, asked: Sequence[str], *, client_id: str, client_secret: Secret | None) -> TokenRequest:
    """The request for these permissions of the API's, authenticated as its token endpoint wants it."""
    said = {"client_id": client_id} | ({oauth.scope_parameter: oauth.scope_separator.join(asked)} if asked else {})
    request = token_request(oauth, said, client_id=client_id, client_secret=client_secret)
    return replace(request, url=oauth.device_url)


def read_device_answer(oauth: OAuth, status: int, body: bytes) -> DeviceCode | Refused:
    """What the endpoint says. Raises `UnreadableAnswer` when it means nothing, or a person could not be shown it."""
    if status >= 500 or status == 429:
        raise UnreadableAnswer(f"it answered {status}")
    document = document_in(body)
    error = text_at(document, "error")
    if status != 200 or error:
        if not error:
            raise UnreadableAnswer(f"it answered {status} and named no error")
        return Refused(error=error[:64], is_final=True)
    code, user_code = text_at(document, "device_code"), text_at(document, "user_code")
    page = text_at(document, "verification_uri")
    lasts, wait = _seconds(document.get("expires_in")), _seconds(document.get("interval", USUAL_SECONDS))
    if not is_credential(code) or _TYPEABLE.fullmatch(user_code) is None or not lasts or wait is None:
        raise UnreadableAnswer("its answer has no codes that can be used")
    if not is_page_of(oauth, page):
        raise UnreadableAnswer("its answer has no page that can be shown")
    return DeviceCode(
        code=Secret(code), user_code=user_code, page=page, lasts_seconds=lasts, wait_seconds=wait or USUAL_SECONDS
    )


def is_page_of(oauth: OAuth, page: str) -> bool:
    """Whether a person may be led there: an https address, or one where the endpoint itself is.

    >>> way = OAuth(authorize_url="", token_url="", device_url="https://id.acme.example/device/code")
    >>> is_page_of(way, "https://acme.example/device"), is_page_of(way, "http://acme.example/device")
    (True, False)
    """
    # SECURITY: it becomes a link of our page: never a script, a name and password, or what browsers read otherwise.
    # Guarded by tests/rules/test_device_endpoint.py::test_a_page_nobody_may_be_led_to_is_not_shown
    if _ADDRESS.fullmatch(page) is None:
        return False
    try:
        at, own = urlsplit(page), urlsplit(oauth.device_url)
        port = at.port
    except ValueError:
        return False
    if not at.hostname or at.username is not None or at.password is not None or port == 0:
        return False
    return at.scheme == "https" or (at.scheme, at.netloc) == (own.scheme, own.netloc)


def _seconds(said: object) -> int | None:
    """A number of seconds, at most an hour; None when it is none."""
    if isinstance(said, str) and said.isascii() and said.isdigit() and len(said) < 10:
        said = int(said)
    if isinstance(said, bool) or not isinstance(said, int) or said < 0:
        return None
    return min(said, _LONGEST_SECONDS)
