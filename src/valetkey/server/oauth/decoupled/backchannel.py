"""`POST /oauth/backchannel` (OpenID Connect CIBA Core): an agent asks somebody who is somewhere else.

Poll and ping. Confidential clients only, for people of their own organization; one open request per person and client,
and a client that was declined waits before it may ask that person again.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, Final, TypedDict

import msgspec

from valetkey.server.errors import Denied
from valetkey.server.oauth.decoupled.ask import Asking
from valetkey.server.oauth.decoupled.hints import Hints, unknown_user
from valetkey.server.oauth.decoupled.model import (
    INTERVAL,
    Kind,
    binding_message,
    lifetime,
    notification_token,
)
from valetkey.server.oauth.decoupled.patience import Patience
from valetkey.server.oauth.described import BESIDES, OF_ASKING, OF_CLIENTS, AskingForm, DescribedEndpoint, Text
from valetkey.server.oauth.form import Form, Headers
from valetkey.server.oauth.outside import AgentFor

CIBA: Final = "urn:openid:params:grant-type:ciba"


class Backchannel:
    """One per process."""

    def __init__(self, asking: Asking, hints: Hints, agent_for: AgentFor, patience: Patience) -> None:
        self._asking = asking
        self._hints = hints
        self._agent_for = agent_for
        self._patience = patience

    async def __call__(self, form: Form, headers: Headers) -> Mapping[str, Any]:
        """The body of CIBA section 7.3."""
        read = await self._asking.read(form, headers, grant_type=CIBA)
        client = read.client
        if client.is_public:
            raise Denied("A client without a secret or a key cannot ask here.", reason="unauthorized_client")
        message, seconds = (
            binding_message(read.form.get("binding_message")),
            lifetime(read.form.get("requested_expiry")),
        )
        is_ping = client.metadata.delivery == "ping"
        token = notification_token(form.get("client_notification_token")) if is_ping else None
        user = await self._hints.named(read.form, client)
        if await self._agent_for(user, client) is None:
            raise unknown_user()
        handle = await self._asking.keep(
            read,
            kind=Kind.BACKCHANNEL,
            seconds=seconds,
            origin=form.sender,
            user=user.id,
            message=message,
            notification_token=token,
            unless=partial(self._patience.check, user=user.id, client=client.id),
        )
        return {"auth_req_id": handle.reveal(), "expires_in": seconds, "interval": INTERVAL}


def metadata() -> dict[str, Any]:
    """CIBA section 4."""
    return {
        "backchannel_token_delivery_modes_supported": ["poll", "ping"],
        "backchannel_user_code_parameter_supported": False,
        "backchannel_authentication_request_signing_alg_values_supported": ["ES256", "Ed25519", "RS256"],
    }


class BackchannelForm(AskingForm, kw_only=True):
    """CIBA section 7.1. Exactly one hint names the person."""

    id_token_hint: Text = msgspec.UNSET
    binding_message: Text = msgspec.UNSET
    requested_expiry: Text = msgspec.UNSET
    client_notification_token: Text = msgspec.UNSET


class BackchannelAnswer(TypedDict):
    """CIBA section 7.3."""

    auth_req_id: str
    expires_in: int
    interval: int


DESCRIBED = DescribedEndpoint(
    path="/oauth/backchannel",
    summary="Ask a person who is somewhere else",
    form=BackchannelForm,
    answer=BackchannelAnswer,
    errors={
        400: (*OF_ASKING, "unknown_user_id", "invalid_binding_message", *OF_CLIENTS),
        **BESIDES,
    },
)
