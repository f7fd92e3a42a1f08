"""`POST /oauth/device_authorization` (RFC 8628 section 3.1): one code for the client, a short one for its person."""

import secrets
from collections.abc import Mapping
from typing import Any, Final, TypedDict

from valetkey.server.oauth.decoupled.ask import Asking
from valetkey.server.oauth.decoupled.model import INTERVAL, SECONDS, Kind
from valetkey.server.oauth.described import BESIDES, OF_ASKING, OF_CLIENTS, AskingForm, DescribedEndpoint
from valetkey.server.oauth.form import Form, Headers
from valetkey.server.principals.user_codes import ALPHABET, CODE_LETTERS, spelled

DEVICE_CODE: Final = "urn:ietf:params:oauth:grant-type:device_code"


class DeviceAuthorization:
    """One per process."""

    def __init__(self, asking: Asking, issuer: str) -> None:
        self._asking = asking
        self._issuer = issuer

    async def __call__(self, form: Form, headers: Headers) -> Mapping[str, Any]:
        """The body of section 3.2."""
        read = await self._asking.read(form, headers, grant_type=DEVICE_CODE)
        code = "".join(secrets.choice(ALPHABET) for _ in range(CODE_LETTERS))
        handle = await self._asking.keep(read, kind=Kind.DEVICE, seconds=SECONDS, origin=form.sender, user_code=code)
        page = f"{self._issuer}/device"
        return {
            "device_code": handle.reveal(),
            "user_code": spelled(code),
            "verification_uri": page,
            "verification_uri_complete": f"{page}?user_code={spelled(code)}",
            "expires_in": SECONDS,
            "interval": INTERVAL,
        }


class DeviceAnswer(TypedDict):
    """RFC 8628 section 3.2."""

    device_code: str
    user_code: str
    verification_uri: str
    verification_uri_complete: str
    expires_in: int
    interval: int


DESCRIBED = DescribedEndpoint(
    path="/oauth/device_authorization",
    summary="Begin where no browser is: a code for the client, a short one for its person",
    form=AskingForm,
    answer=DeviceAnswer,
    errors={400: (*OF_ASKING, *OF_CLIENTS), **BESIDES},
)
