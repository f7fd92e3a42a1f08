"""Requests and answers of the server as values. No sockets, no clock, no state: shells around it do the sending.

A builder says method, path, headers and body; `read` turns an answer into its JSON value or raises the typed refusal.
Specs: RFC 9457 (problems), RFC 6749 section 5.2 and RFC 8693 (the token endpoint).
"""

import json
from base64 import b64encode
from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlencode

from valetkey.client import errors
from valetkey.client.errors import BY_CODE, ValetkeyError

USER_CREDENTIAL: Final = "urn:valetkey:params:oauth:grant-type:user-credential"
CLIENT_CREDENTIALS: Final = "client_credentials"

_OAUTH_ERRORS: Final[Mapping[str, type[ValetkeyError]]] = {
    "invalid_client": errors.NotAuthenticated,
    "invalid_grant": errors.NotAuthenticated,
    "unauthorized_client": errors.Denied,
    "invalid_scope": errors.Denied,
    "invalid_target": errors.Denied,
    "access_denied": errors.Denied,
    "temporarily_unavailable": errors.Unavailable,
    "server_error": ValetkeyError,
}


class Request(NamedTuple):
    """One request. `path` begins with a slash and holds the query."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes | None

    def bearing(self, token: str) -> "Request":
        """The same request with an API token."""
        return self._replace(headers={**self.headers, "Authorization": f"Bearer {token}"})

    def proving(self, proof: str, token: str | None = None) -> "Request":
        """The same request with a proof of the sender's key, and the token that is bound to it."""
        shown = {} if token is None else {"Authorization": f"DPoP {token}"}
        return self._replace(headers={**self.headers, **shown, "DPoP": proof})


class Response(NamedTuple):
    """One answer; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def get(path: str, /, **query: str | int | None) -> Request:
    """A GET; parameters that are None are left out."""
    given = {name: str(value) for name, value in query.items() if value is not None}
    return Request("GET", f"{path}?{urlencode(given)}" if given else path, {"Accept": "application/json"}, None)


def send(method: str, path: str, /, **members: Any) -> Request:
    """A request with a JSON object; members that are None are left out."""
    body = json.dumps({name: value for name, value in members.items() if value is not None}).encode()
    return Request(method, path, {"Accept": "application/json", "Content-Type": "application/json"}, body)


def post(path: str, /, **members: Any) -> Request:
    """A POST with a JSON object; members that are None are left out."""
    return send("POST", path, **members)


def at(*segments: str) -> str:
    """A path under /v1 with every segment quoted: a name never becomes two.

    >>> at("agents", "a/b", "suspend")
    '/v1/agents/a%2Fb/suspend'
    """
    return "/v1/" + "/".join(quote(segment, safe="@:") for segment in segments)


def user_api_token(credential: str) -> Request:
    """Exchange a user's CLI credential for an API token."""
    return _form({"grant_type": USER_CREDENTIAL, "credential": credential})


def client_api_token(client_id: str, secret: str) -> Request:
    """Exchange the secret of an agent or a service account for an API token."""
    pair = f"{quote(client_id, safe='')}:{quote(secret, safe='')}"  # RFC 6749 section 2.3.1: form-encoded, then Basic
    request = _form({"grant_type": CLIENT_CREDENTIALS})
    proof = "Basic " + b64encode(pair.encode()).decode()
    return request._replace(headers={**request.headers, "Authorization": proof})


def read(response: Response) -> Any:
    """The JSON value of a good answer. Raises the typed refusal of any other."""
    if 200 <= response.status < 300:
        try:
            return json.loads(response.body)
        except ValueError:
            raise ValetkeyError(
                "The server answered something that is not JSON.",
                hint="Check that VALETKEY_URL names a Valetkey server.",
                status=response.status,
            ) from None
    raise refusal(response)


def refusal(response: Response) -> ValetkeyError:
    """The typed refusal an answer stands for, whoever wrote it."""
    try:
        document = json.loads(response.body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        return _bare(response)
    if isinstance(document.get("error"), str):
        kind = _OAUTH_ERRORS.get(document["error"], errors.InvalidRequest)
        if response.status == 429:
            kind = errors.TooMany
        return kind(str(document.get("error_description", "")), status=response.status, members=document)
    code = document.get("code")
    if not isinstance(code, str):
        return _bare(response)
    kind = BY_CODE.get(code, ValetkeyError)
    detail, hint = (document.pop(name, "") for name in ("detail", "hint"))
    return kind(str(detail), hint=str(hint), status=response.status, members=document)


def _bare(response: Response) -> ValetkeyError:
    """An answer of nobody we know: a proxy, or another program on that port."""
    by_status: Mapping[int, type[ValetkeyError]] = {
        401: errors.NotAuthenticated,
        404: errors.NotFound,
        429: errors.TooMany,
        502: errors.Unavailable,
        503: errors.Unavailable,
        504: errors.Unavailable,
    }
    kind = by_status.get(response.status, ValetkeyError)
    hint = "Check that VALETKEY_URL names a Valetkey server and nothing in between answers for it."
    return kind(f"The server answered {response.status} without saying why.", hint=hint, status=response.status)


def _form(fields: Mapping[str, str]) -> Request:
    headers = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}
    return Request("POST", "/oauth/token", headers, urlencode(fields).encode())
