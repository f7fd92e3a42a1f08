"""What is said to an API's token endpoint, and how its answer is read (RFC 6749 sections 4.1.3, 5 and 6).

Responsible for the bytes of the request and the meaning of the answer, with each API's quirks as its `OAuth` names
them. Refuses to know how it is sent, whose credential it is, and what is done with what comes.
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, quote_plus, urlencode

import msgspec

from valetkey.server.integrations.authorization import OAuth
from valetkey.server.secret import Secret
from valetkey.verify.json import MalformedJson, parse_object

LONGEST_CREDENTIAL: Final = 8_192
_LONGEST_LIFE_SECONDS: Final = 10 * 366 * 86_400
_SENDABLE: Final = re.compile(r"[\x21-\x7e]+")
_DEAD: Final = frozenset({"invalid_grant", "bad_refresh_token", "bad_verification_code", "invalid_refresh_token"})


class UnreadableAnswer(ValueError):
    """An answer that says neither yes nor no."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRequest:
    """A POST to the token endpoint. The headers and the body hold secrets."""

    url: str
    headers: tuple[tuple[bytes, bytes], ...]
    body: Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """What an API gave. `scopes` is None when it does not say; `lasts_seconds` None: until it is revoked."""

    access: Secret
    refresh: Secret | None
    scopes: tuple[str, ...] | None
    lasts_seconds: int | None
    account: str = ""
    account_id: str = ""
    workspace: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """What an API said instead. `is_final`: this code or refresh token will never work again."""

    error: str
    is_final: bool


def token_request(
    oauth: OAuth, parameters: Mapping[str, str], *, client_id: str, client_secret: Secret | None
) -> TokenRequest:
    """The request for these parameters (`grant_type` and what belongs to it), authenticated as the API wants it."""
    said = dict(parameters)
    headers = [(b"accept", b"application/json"), (b"user-agent", b"valetkey")]
    if oauth.client_authentication == "basic" and client_secret is not None:
        pair = f"{quote_plus(client_id)}:{quote_plus(client_secret.reveal())}"  # RFC 6749 section 2.3.1
        headers.append((b"authorization", b"Basic " + base64.b64encode(pair.encode())))
    else:
        said["client_id"] = client_id
        if oauth.client_authentication == "post" and client_secret is not None:
            said["client_secret"] = client_secret.reveal()
    if oauth.body == "json":
        headers.append((b"content-type", b"application/json"))
        body = msgspec.json.encode(said).decode()
    else:
        headers.append((b"content-type", b"application/x-www-form-urlencoded"))
        body = urlencode(said)
    headers.append((b"content-length", str(len(body.encode())).encode()))
    is_refresh = said.get("grant_type") == "refresh_token"
    url = (is_refresh and oauth.refresh_url) or oauth.token_url
    return TokenRequest(url=url, headers=tuple(headers), body=Secret(body))


def read_answer(oauth: OAuth, status: int, body: bytes) -> Granted | Refused:
    """What the token endpoint says. Raises `UnreadableAnswer` when it means nothing: then nothing was decided.

    A 5xx is never read: whatever it says, the API may have done it or not.
    """
    if status >= 500 or status == 429:
        raise UnreadableAnswer(f"it answered {status}")
    document = document_in(body)
    error = text_at(document, "error")
    if status not in (200, 201) or error or (oauth.success and at(document, oauth.success) is not True):
        if not error:
            raise UnreadableAnswer(f"it answered {status} and named no error")
        return Refused(error=error[:64], is_final=error in _DEAD)
    holder = at(document, oauth.token_at) if oauth.token_at else document
    if holder is None and oauth.token_type:
        holder = document
    if not isinstance(holder, dict):
        raise UnreadableAnswer(f"its answer has no {oauth.token_at}")
    access, refresh = text_at(holder, "access_token"), text_at(holder, "refresh_token")
    if not is_credential(access) or (refresh and not is_credential(refresh)):
        raise UnreadableAnswer("its answer has no credential that can be sent")
    # SECURITY: a credential of another scheme (`mac`, `N_A`, `DPoP`) put behind Bearer would not do what was agreed.
    kind = (text_at(holder, "token_type") or "bearer").lower()
    if kind not in ((oauth.token_type,) if oauth.token_type else ("bearer", "user", "bot")):
        raise UnreadableAnswer(f"its credential is not a {oauth.token_type or 'bearer'} credential")
    said = at(document, oauth.granted_at)
    scopes = said if said is not None else holder.get("scope")
    return Granted(
        access=Secret(access),
        refresh=Secret(refresh) if refresh else None,
        # SECURITY: an empty scope is nothing; only one that is not there means what was asked for (RFC 6749, 5.1).
        # Guarded by tests/rules/test_token_endpoint.py::test_an_empty_scope_is_nothing
        scopes=tuple(part for part in re.split(r"[\s,]+", scopes) if part) if isinstance(scopes, str) else None,
        lasts_seconds=_seconds(holder.get("expires_in"), oauth.lasts_seconds),
        account=text_at(document, oauth.account_at),
        account_id=text_at(document, oauth.account_id_at),
        workspace=text_at(document, oauth.workspace_at),
    )


def document_in(body: bytes) -> dict[str, Any]:
    """What an answer says. Raises `UnreadableAnswer` when it is neither one JSON object nor one form."""
    try:
        return parse_object(body)
    except MalformedJson as malformed:
        # NOTE: GitHub answers as a form when it does not see what was asked for in `accept`.
        try:
            pairs = parse_qsl(body.decode("ascii"), strict_parsing=True, max_num_fields=16)
        except ValueError:
            pairs = []
        if not pairs or len(dict(pairs)) != len(pairs):
            raise UnreadableAnswer("its answer is neither one JSON object nor one form") from malformed
        return dict(pairs)


def at(document: object, path: str) -> object:
    """What stands at a dotted path; None when nothing does."""
    for key in path.split(".") if path else ():
        document = document.get(key) if isinstance(document, dict) else None
    return document if path else None


def text_at(document: object, path: str) -> str:
    """The text or number at a dotted path; empty when there is none."""
    found = at(document, path)
    if isinstance(found, int) and not isinstance(found, bool):
        return str(found)
    return found if isinstance(found, str) else ""


def is_credential(text: str) -> bool:
    """Whether it can be kept, and sent in a header."""
    return len(text) <= LONGEST_CREDENTIAL and _SENDABLE.fullmatch(text) is not None


def _seconds(said: object, otherwise: int | None) -> int | None:
    """`expires_in` as a number of seconds; 0 and nonsense say nothing (RT-06)."""
    if isinstance(said, str) and said.isascii() and said.isdigit() and len(said) < 10:
        said = int(said)
    if isinstance(said, bool) or not isinstance(said, int | float) or said <= 0:
        return otherwise
    return min(int(said), _LONGEST_LIFE_SECONDS)
