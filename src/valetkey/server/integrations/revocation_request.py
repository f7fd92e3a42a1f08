"""How an API is told to forget a credential, and what its answer means.

Responsible for the bytes of the request and the meaning of the answer. Refuses to know how it is sent, and when again.
"""

import base64
import re
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import quote, quote_plus, urlencode

import msgspec

from valetkey.server.integrations.authorization import OAuth, Revocation
from valetkey.server.integrations.token_endpoint import at
from valetkey.server.secret import Secret
from valetkey.verify.json import MalformedJson, parse_object

Outcome = Literal["ended", "was_gone", "not_now", "refused"]
_NOTHING_LEFT: Final = frozenset({"token_revoked", "invalid_auth", "account_inactive"})  # Slack, with status 200
_GONE: Final = {
    "bearer": (401, 404, 410),
    "path": (401, 404, 410),
    "github": (404, 410),
    "rfc7009": (),  # RFC 7009 section 2.2: 200 also for a token it does not know
}
_PLAIN: Final = re.compile(r"[A-Za-z0-9._~-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class RevocationRequest:
    """Headers, address and body may hold secrets."""

    method: str
    url: Secret
    headers: tuple[tuple[bytes, bytes], ...]
    body: Secret | None


def revocation_request(
    oauth: OAuth, how: Revocation, credential: Secret, *, client_id: str, client_secret: Secret | None
) -> RevocationRequest:
    """The request that ends `credential`, authenticated as the API wants it."""
    token = credential.reveal()
    headers = [(b"accept", b"application/json"), (b"user-agent", b"valetkey")]
    url, body, method = how.url, "", how.method
    secret = "" if client_secret is None else client_secret.reveal()
    match how.by:
        case "rfc7009":
            said = {"token": token, "token_type_hint": "refresh_token" if how.of == "refresh" else "access_token"}
            if oauth.client_authentication == "basic" and secret:
                headers.append(_basic(quote_plus(client_id), quote_plus(secret)))
            else:
                said |= {"client_id": client_id} | ({"client_secret": secret} if secret else {})
            method, body = "POST", urlencode(said)
            headers.append((b"content-type", b"application/x-www-form-urlencoded"))
        case "bearer":
            headers.append((b"authorization", b"Bearer " + token.encode()))
        case "github":
            url = url.replace("{client_id}", quote(client_id, safe=""))
            headers.append(_basic(client_id, secret))
            method, body = "DELETE", msgspec.json.encode({"access_token": token}).decode()
            headers.append((b"content-type", b"application/json"))
        case "path":
            if not _PLAIN.fullmatch(token):
                raise ValueError("this credential cannot stand in a path")
            url = url.replace("{token}", token)
    if body or method == "POST":
        headers.append((b"content-length", str(len(body.encode())).encode()))
    return RevocationRequest(
        method=method, url=Secret(url), headers=tuple(headers), body=Secret(body) if body else None
    )


def read_outcome(oauth: OAuth, how: Revocation, status: int, body: bytes) -> Outcome:
    """What the API says: that it ended the credential, that it knew none such, or neither.

    >>> quiet = OAuth(authorize_url="", token_url="")
    >>> by_itself, by_client = Revocation(by="bearer", url=""), Revocation(by="rfc7009", url="")
    >>> [read_outcome(quiet, by_itself, status, b"") for status in (200, 204, 401, 404, 429, 503, 400)]
    ['ended', 'ended', 'was_gone', 'was_gone', 'not_now', 'not_now', 'refused']
    >>> [read_outcome(quiet, by_client, status, b"") for status in (200, 401, 404)]
    ['ended', 'refused', 'refused']
    >>> [read_outcome(quiet, Revocation(by="github", url=""), status, b"") for status in (401, 404)]
    ['refused', 'was_gone']
    """
    if status == 429 or status >= 500:
        return "not_now"
    # SECURITY: where the app proves itself, 401 says that the app is not known, and nothing of the credential.
    # Guarded by tests/flows/test_connecting.py::test_an_app_the_api_does_not_know_has_ended_nothing
    if status in _GONE[how.by]:
        return "was_gone"
    if not 200 <= status < 300:
        return "refused"
    if oauth.success:
        try:
            document = parse_object(body)
        except MalformedJson:
            return "not_now"
        if at(document, oauth.success) is not True:
            return "was_gone" if at(document, "error") in _NOTHING_LEFT else "refused"
    return "ended"


def _basic(name: str, password: str) -> tuple[bytes, bytes]:
    return b"authorization", b"Basic " + base64.b64encode(f"{name}:{password}".encode())
