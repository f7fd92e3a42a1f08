"""An app installed at an API: proving to be it, and the short-lived credentials it gets there.

1. a JWT signed with the app's key, good for minutes, 2. a credential made with it: narrowed to resources and
permissions for a lease, or the whole installation for the gateway, which narrows itself, 3. the end of one, told to
the API with the credential itself. Facts: GitHub's REST documentation, "Apps" and "App installations".
"""

import contextlib
import datetime
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from valetkey.server.clock import Clock
from valetkey.server.connections.model import AppInstallation
from valetkey.server.egress import Egress, Url
from valetkey.server.errors import ConnectionRequired, InvalidRequest, UpstreamFailed
from valetkey.server.integrations.authorization import Installation
from valetkey.server.secret import Secret
from valetkey.verify import jws
from valetkey.verify.base64url import encode
from valetkey.verify.json import MalformedJson, parse_object

JWT_SECONDS: Final = 540  # the API takes at most ten minutes
_EARLIER_SECONDS: Final = 60  # for a clock there that is behind
_MOST_BYTES: Final = 1 << 18
_SMALLEST_KEY: Final = 2_048
_CREDENTIAL: Final = re.compile(r"[\x21-\x7e]{20,4096}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Minted:
    """A credential that was made, and when it ends by itself (seconds since the epoch).

    `kept` is what we keep of it: what ends it there, which is itself unless said.
    """

    credential: Secret
    expires_at: int
    kept: Secret | None = None


class Installations:
    """One per process."""

    def __init__(self, egress: Egress, clock: Clock, *, timeout: float) -> None:
        self._egress = egress
        self._clock = clock
        self._timeout = timeout

    async def account(self, how: Installation, base: Url, app: AppInstallation, key: Secret) -> str:
        """Whose installation it is. Raises `InvalidRequest` when the API does not know it, or not by this key."""
        status, document = await self._asked("GET", _at(base, how.account, app), self._proof(app, key), None)
        login = document.get("account", {}).get("login") if isinstance(document.get("account"), dict) else None
        if status != 200 or not isinstance(login, str) or not login:
            raise InvalidRequest(
                "The API does not know this installation, or not by this key.",
                hint="Check the app id, the installation id and the private key.",
                detail=f"it answered {status}",
            )
        return login

    async def narrow(
        self,
        how: Installation,
        base: Url,
        app: AppInstallation,
        key: Secret,
        *,
        resource_ids: tuple[str, ...],
        permissions: frozenset[str],
    ) -> Minted:
        """A credential for these resources and permissions alone."""
        # SECURITY: to the API an empty list is no list, and no list is everything.
        # Guarded by tests/attacks/test_leases.py::test_nothing_named_is_never_everything
        if not resource_ids or not permissions:
            raise ValueError("an empty narrowing is none")
        asked = {
            "repository_ids": [int(one) for one in resource_ids],
            "permissions": dict(one.split(":") for one in sorted(permissions)),
        }
        minted, document = await self._minted(how, base, app, key, asked)
        # SECURITY: believed only when the API says so itself: one that passes over what it was asked gives everything.
        # Guarded by tests/attacks/test_leases.py::test_an_api_that_gives_more_than_was_asked_gets_it_back
        if document.get("repository_selection") != "selected" or not _within(document.get("permissions"), permissions):
            await self.end(how, base, minted.credential)
            raise UpstreamFailed("The API gave more than it was asked for. It was given back.")
        return minted

    async def whole(self, how: Installation, base: Url, app: AppInstallation, key: Secret) -> Minted:
        """A credential for all the installation can do: for the gateway alone, which judges every call."""
        minted, _ = await self._minted(how, base, app, key, {})
        return minted

    async def end(self, how: Installation, base: Url, credential: Secret) -> bool:
        """Have a credential forgotten; whether it certainly is. Raises `UpstreamFailed` when nobody answers."""
        status, _ = await self._asked("DELETE", _at(base, how.revoke, None), credential, None)
        return status in (204, 401)  # 401: it was not good any more

    async def _minted(
        self, how: Installation, base: Url, app: AppInstallation, key: Secret, asked: Mapping[str, Any]
    ) -> tuple[Minted, dict[str, Any]]:
        status, document = await self._asked("POST", _at(base, how.mint, app), self._proof(app, key), asked)
        if status in (401, 403, 404):
            raise ConnectionRequired(
                "The API no longer knows this app's installation, or its key.",
                hint="Ask an administrator to connect the app again.",
            )
        token, ends = document.get("token"), document.get("expires_at")
        if status != 201 or not isinstance(token, str) or _CREDENTIAL.fullmatch(token) is None:
            raise UpstreamFailed("The API made no credential.", detail=f"it answered {status}")
        return Minted(credential=Secret(token), expires_at=_seconds(ends)), document

    def _proof(self, app: AppInstallation, key: Secret) -> Secret:
        now = int(self._clock.now())
        claims = {"iat": now - _EARLIER_SECONDS, "exp": now + JWT_SECONDS, "iss": app.app}
        head = encode(msgspec.json.encode({"alg": "RS256", "typ": "JWT"}))
        signed = head + b"." + encode(msgspec.json.encode(claims))
        return Secret(jws.compact(signed, jws.sign_rs256(private_key(key), signed)))

    async def _asked(
        self, method: str, url: Url, bearer: Secret, body: Mapping[str, Any] | None
    ) -> tuple[int, dict[str, Any]]:
        headers = [
            (b"accept", b"application/vnd.github+json"),
            (b"user-agent", b"valetkey"),
            (b"authorization", b"Bearer " + bearer.reveal().encode()),
        ]
        content = None
        if body is not None:
            content = msgspec.json.encode(body)
            headers += [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
        status, _, answer = await self._egress.fetch(
            method, url, headers, max_bytes=_MOST_BYTES, timeout=self._timeout, body=content
        )
        if status == 429 or status >= 500:
            raise UpstreamFailed(detail=f"{url.place} answered {status}")
        try:
            return status, parse_object(answer) if answer else {}
        except MalformedJson as error:
            raise UpstreamFailed(detail=f"{url.place} answered no JSON") from error


def private_key(pem: Secret) -> rsa.RSAPrivateKey:
    """The app's key. Raises `InvalidRequest` for anything but an RSA key of at least 2,048 bits in PEM."""
    key: object = None
    with contextlib.suppress(ValueError, TypeError, UnsupportedAlgorithm):
        key = serialization.load_pem_private_key(pem.reveal().encode(), password=None)
    # SECURITY: refused out here, so that no traceback holds what was not a key.
    if not isinstance(key, rsa.RSAPrivateKey) or key.key_size < _SMALLEST_KEY:
        raise InvalidRequest("This is not an app's private key: RSA, in PEM, at least 2,048 bits.")
    return key


def _within(given: object, permissions: frozenset[str]) -> bool:
    """Whether no more was given than was asked for; reading metadata comes with everything."""
    if not isinstance(given, dict):
        return False
    return {f"{name}:{access}" for name, access in given.items()} <= permissions | {"metadata:read"}


def _at(base: Url, path: str, app: AppInstallation | None) -> Url:
    filled = path if app is None else path.replace("{installation}", app.installation)
    return Url(scheme=base.scheme, host=base.host, port=base.port, target=base.target.rstrip(b"/") + filled.encode())


def _seconds(said: object) -> int:
    try:
        return int(datetime.datetime.fromisoformat(str(said)).timestamp())
    except ValueError as error:
        raise UpstreamFailed("The API did not say when its credential ends.") from error
