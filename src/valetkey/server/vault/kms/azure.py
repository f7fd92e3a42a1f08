"""Azure Key Vault: an RSA key locks the root key, by an application's client secret.

RSA-OAEP authenticates nothing along with the key, so the hash of the context is wrapped before it and compared after.
Whoever has the public half could wrap a key of their own: what is opened is believed because the file is private and
the data keys open under it. API: `wrapkey`, `unwrapkey`, 7.4; OAuth 2.0 client credentials (RFC 6749 section 4.4).
"""

import hmac
import json
import re
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urlencode

from valetkey.server.egress import Egress
from valetkey.server.egress.url import Url
from valetkey.server.secret import Secret, SecretBytes
from valetkey.server.vault.errors import KeyServiceAway, RootKeyRefused
from valetkey.server.vault.kms.ask import address, ask, bound, refuse, text_of
from valetkey.server.vault.kms.service import Context
from valetkey.verify import base64url

_ALGORITHM: Final = "RSA-OAEP-256"
_API: Final = b"api-version=7.4"
_KEY: Final = re.compile(rb"/keys/[A-Za-z0-9-]+/[0-9a-f]{32}")
_NOT_OURS: Final = "BadParameter"


@dataclass(frozen=True, slots=True, kw_only=True)
class AzureKeyVault:
    """One version of a key, named by its address. `identity` is `https://login…/TENANT/CLIENT-ID`."""

    egress: Egress
    key: str
    identity: str
    secret: Secret
    name: str = "azure"

    def __post_init__(self) -> None:
        if not _KEY.fullmatch(self.base.target):
            raise RootKeyRefused(
                f"root_key is the address of one version of a key, and not {self.key}.",
                hint="https://VAULT.vault.azure.net/keys/NAME/VERSION",
            )
        if len([part for part in self._login.target.split(b"/") if part]) != 2:
            raise RootKeyRefused(
                "root_identity does not name a tenant and a client.",
                hint="https://login.microsoftonline.com/TENANT/CLIENT-ID",
            )

    @property
    def base(self) -> Url:
        """Where the key lies."""
        return address(self.key, what="root_key")

    @property
    def _login(self) -> Url:
        return address(self.identity, what="root_identity")

    async def wrap(self, key: SecretBytes, context: Context) -> bytes:
        status, answer = await self._asked("wrapkey", SecretBytes(bound(context) + key.reveal()))
        if status != 200:
            refuse(self.name, self.key, status, _code(answer))
        return _value(answer).reveal()

    async def unwrap(self, wrapped: bytes, context: Context) -> SecretBytes | None:
        status, answer = await self._asked("unwrapkey", SecretBytes(wrapped))
        if status == 400 and _code(answer) == _NOT_OURS:
            return None
        if status != 200:
            refuse(self.name, self.key, status, _code(answer))
        opened = _value(answer).reveal()
        return SecretBytes(opened[32:]) if hmac.compare_digest(opened[:32], bound(context)) else None

    async def _asked(self, verb: str, value: SecretBytes) -> tuple[int, dict[str, object]]:
        token = await self._token()
        url = replace(self.base, target=self.base.target + b"/" + verb.encode() + b"?" + _API)
        body = json.dumps({"alg": _ALGORITHM, "value": base64url.encode(value.reveal()).decode()}).encode()
        headers = {"content-type": "application/json", "authorization": f"Bearer {token.reveal()}"}
        return await ask(self.egress, self.name, url, body, headers)

    async def _token(self) -> Secret:
        tenant, client = (part.decode() for part in self._login.target.split(b"/") if part)
        host = self.base.host
        scope = "https://" + (host.partition(".")[2] if self.base.literal is None and "." in host else host)
        form = urlencode(
            {
                "grant_type": "client_credentials",
                "client_id": client,
                "client_secret": self.secret.reveal(),
                "scope": scope + "/.default",
            }
        )
        url = replace(self._login, target=f"/{tenant}/oauth2/v2.0/token".encode())
        headers = {"content-type": "application/x-www-form-urlencoded"}
        status, answer = await ask(self.egress, self.name, url, form.encode(), headers)
        if status != 200:
            refuse(self.name, client, status, answer.get("error"))
        return Secret(text_of(answer, "access_token", service=self.name))


def _value(answer: dict[str, object]) -> SecretBytes:
    try:
        return SecretBytes(base64url.decode(text_of(answer, "value", service="azure").encode()))
    except ValueError:
        raise KeyServiceAway("The key service azure answered value in another form.") from None


def _code(answer: dict[str, object]) -> str:
    error = answer.get("error")
    return str(error.get("code", "")) if isinstance(error, dict) else ""
