"""Token exchange (RFC 8693): from a task to a delegated credential. The actor is the authenticated client."""

from collections.abc import Mapping
from typing import Any

from valetkey.server.credentials.issue import Issue, Issued
from valetkey.server.errors import Denied, InvalidRequest
from valetkey.server.oauth.details import ask_of
from valetkey.server.oauth.grants.asked import Answer, Asked
from valetkey.server.principals.model import ServiceAccount

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT = "urn:ietf:params:oauth:token-type:jwt"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - the name of a type


class Exchange:
    """One per process."""

    def __init__(self, issue: Issue) -> None:
        self._issue = issue

    async def __call__(self, asked: Asked) -> Answer:
        form = asked.form
        if asked.client is not None and isinstance(asked.client.principal, ServiceAccount):
            raise Denied("A service account never acts for a person.", reason="unauthorized_client")
        agent = asked.agent()
        if form.get("actor_token") is not None or form.get("actor_token_type") is not None:
            raise InvalidRequest("The actor is the authenticated client; send no actor_token.")
        if form.must("subject_token_type") != JWT:
            raise InvalidRequest(f"The subject_token_type must be {JWT}: a task token.", reason="subject_token")
        if form.get("requested_token_type") not in (None, ACCESS_TOKEN, JWT):
            raise InvalidRequest("The requested_token_type is not one this server issues.")
        issued = await self._issue.delegated(
            agent, form.must("subject_token"), ask_of(form), again=asked.again, jkt=asked.jkt
        )
        return answer_of(issued)


def answer_of(issued: Issued) -> Mapping[str, Any]:
    """The answer of RFC 8693 section 2.2.1."""
    return {
        "access_token": issued.token,
        "issued_token_type": ACCESS_TOKEN,
        "token_type": issued.token_type,
        "expires_in": issued.expires_in,
        **issued.granted,
    }
