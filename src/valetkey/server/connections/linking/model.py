"""A linking: somebody was sent to an API to consent, and whether an answer is that person's, in that browser. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urlencode

from valetkey.server.connections.apps.model import App
from valetkey.server.connections.by_code.model import ConnectCode
from valetkey.server.errors import Denied
from valetkey.server.integrations.authorization import OAuth
from valetkey.server.principals.model import User
from valetkey.server.secret import Secret

BEGIN_AGAIN: Final = "Nothing was connected. Begin again on the connections page, in one browser."
LINKING_SECONDS: Final = 600
MOST_BEGUN: Final = 30
"""How many a person may begin within that time: more than anybody connects by hand, and no table is filled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What somebody wants to connect, before an app or a state is known.

    `permissions` are the API's own, `session` is her browser, `back` where to go after it, `connection` one to be
    connected again. A `code` she opened in this browser says where and which connection, and bounds the rest.
    """

    integration: str
    permissions: tuple[str, ...]
    by: User
    session: str
    back: str
    connection: str = ""
    shared: bool = False
    code: ConnectCode | None = None

    @property
    def at(self) -> str:
        """The API it is at: what a code says, and only else what was asked."""
        return self.integration if self.code is None else self.code.integration

    def bound(self) -> "Wanted":
        """The same as its code says. Raises `Denied` where more is asked than the code was made for."""
        code = self.code
        if code is None:
            return self
        # SECURITY: a code that was made for little never ends in asking for much.
        # Guarded by tests/flows/test_connecting_by_code.py::test_no_more_is_asked_than_the_code_was_made_for
        if code.permissions and not set(self.permissions) <= set(code.permissions):
            raise Denied("This would ask for more than was begun with.", hint=BEGIN_AGAIN, reason="wider")
        return replace(self, integration=self.at, connection=code.connection or "", shared=code.shared)


@dataclass(frozen=True, slots=True, kw_only=True)
class Linking:
    """`session` is the browser it began in, `connection` the one to be connected again, `back` where to go after it."""

    id: str
    org: str
    user: str
    session: str
    app: str
    asked: tuple[str, ...]
    connection: str
    shared: bool
    back: str
    code: str  # the connect code that led here, or empty
    created_at: int
    expires_at: int
    used_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back through the browser (RFC 6749 section 4.1.2, RFC 9207)."""

    state: Secret
    code: str
    iss: str | None
    error: str


def wrong(linking: Linking, answer: Answer, way: OAuth | None, *, app: str, user: str, session: str, now: float) -> str:
    """Why this answer is not the one that was waited for; empty when it is.

    The order is what a stranger may learn: first that it is another person's, last what the API said.
    """
    if linking.user != user:
        return "another_person"
    if linking.session != session:
        return "another_browser"
    if linking.app != app or way is None:
        return "another_app"
    if linking.used_at is not None or now >= linking.expires_at:
        return "over"
    # SECURITY: the code may be another server's: it is shown to nobody before this is known (RFC 9207 section 2.4).
    # Guarded by tests/flows/test_connecting.py::test_oa_11_an_answer_of_another_issuer_is_never_redeemed
    if (answer.iss is None and way.sends_iss) or (answer.iss is not None and way.issuer and answer.iss != way.issuer):
        return "another_issuer"
    return ""


def consent_address(
    way: OAuth, app: App, *, redirect_uri: str, state: Secret, challenge: str, asked: Sequence[str]
) -> str:
    """Where the person is sent to consent (RFC 6749 section 4.1.1, RFC 7636 section 4.3)."""
    said = {
        **way.extra,
        "response_type": "code",
        "client_id": app.client_id,
        "redirect_uri": redirect_uri,
        "state": state.reveal(),
    }
    if asked:
        said[way.scope_parameter] = way.scope_separator.join(asked)
    if way.pkce:
        said |= {"code_challenge": challenge, "code_challenge_method": "S256"}
    return f"{way.authorize_url}{'&' if '?' in way.authorize_url else '?'}{urlencode(said)}"
