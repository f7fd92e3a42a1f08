"""Whom a backchannel request is for (CIBA section 7.1): exactly one hint, a person of the client's own organization.

Unknown, suspended, revoked and somebody of another organization answer alike.
"""

from typing import Final

from valetkey.server.db.engine import Database
from valetkey.server.errors import Denied, InvalidRequest
from valetkey.server.ids import is_id
from valetkey.server.oauth.clients.model import Client
from valetkey.server.oauth.form import Form
from valetkey.server.principals import store as principals
from valetkey.server.principals.model import Status, User, checked_email
from valetkey.server.revocation import store as revocation
from valetkey.server.tokens.keys import Keys
from valetkey.verify import jws
from valetkey.verify.errors import InvalidToken

_HINTS: Final = ("login_hint", "id_token_hint", "login_hint_token")
_ID_TOKEN: Final = "JWT"  # noqa: S105 - OpenID Connect Core section 2


class Hints:
    """One per process."""

    def __init__(self, database: Database, keys: Keys, issuer: str) -> None:
        self._database = database
        self._keys = keys
        self._issuer = issuer

    async def named(self, form: Form, client: Client) -> User:
        """The person the one hint names. Raises `unknown_user_id`, one sentence for every cause."""
        given = [name for name in _HINTS if form.get(name) is not None]
        if len(given) != 1:
            raise InvalidRequest("Name the person by exactly one of login_hint and id_token_hint.")
        if given == ["login_hint_token"]:
            raise InvalidRequest("login_hint_token is not served here.", hint="Use login_hint: an e-mail address.")
        hint = form.must(given[0])
        if client.org is None:
            raise Denied("Only an agent of an organization can ask here.", reason="unauthorized_client")
        async with self._database.read() as db:
            if given == ["login_hint"]:
                user = await principals.user_by_email(db, client.org, _email(hint))
            else:
                user = await principals.user(db, await self._subject(hint, client))
            ended = user is None or await revocation.among(db, {user.id, user.org})
        if user is None or ended or user.org != client.org or user.status is not Status.ACTIVE:
            raise unknown_user()
        return user

    async def _subject(self, hint: str, client: Client) -> str:
        """Whom an ID token of ours, made for this very client, speaks of. It may have expired: it is only a hint."""
        await self._keys.reload_if_due()
        try:
            claims = jws.verify(hint, keys=self._keys.public, typ=_ID_TOKEN)
        except InvalidToken as error:
            raise unknown_user() from error
        subject = claims.get("sub")
        if claims.get("iss") != self._issuer or claims.get("aud") != client.id or not isinstance(subject, str):
            raise unknown_user()
        return subject if is_id(subject, "usr") else ""


def unknown_user() -> Denied:
    """What is said of everybody whom this client cannot ask."""
    return Denied(
        "There is nobody of that name whom this client can ask.",
        hint="login_hint is the e-mail address of a person of the agent's own organization.",
        reason="unknown_user_id",
    )


def _email(hint: str) -> str:
    try:
        return checked_email(hint)
    except InvalidRequest as error:
        raise unknown_user() from error
