"""A browser on its way back to the client that sent it (RFC 6749 section 4.1.2)."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from valetkey.server.oauth.errors import oauth_error
from valetkey.server.oauth.form import Form


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirected:
    """Send the browser to the client."""

    location: str


class SendBack:
    """One per process: every answer says whose it is."""

    def __init__(self, issuer: str) -> None:
        self._issuer = issuer

    def refused(self, error: Exception, redirect: str, form: Form) -> Redirected:
        """RFC 6749 section 4.1.2.1, RFC 9207 section 2: only ever to a redirect URI that is the client's."""
        _, _, body = oauth_error(error, tried_basic=False)
        state = form.get("state") or ""
        kept = {"state": state} if state and len(state) <= 2_048 and state.isprintable() else {}
        return self.sent(redirect, body | kept)

    def sent(self, redirect: str, members: dict[str, Any]) -> Redirected:
        """An answer at the client's redirect URI, whatever query that has."""
        query = urlencode(members | {"iss": self._issuer})
        return Redirected(location=redirect + ("&" if urlsplit(redirect).query else "?") + query)
