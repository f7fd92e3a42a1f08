"""Google Cloud KMS: a symmetric key locks the root key, by a service account's key file.

A JWT signed by the service account (RFC 7523) is exchanged for an access token, for each opening anew. The context goes
along as `additionalAuthenticatedData`. API: `cryptoKeys.encrypt`, `cryptoKeys.decrypt`, v1.
"""

import base64
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urlencode

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from valetkey.server.egress import Egress
from valetkey.server.egress.url import Url
from valetkey.server.secret import Secret, SecretBytes
from valetkey.server.vault.errors import RootKeyRefused
from valetkey.server.vault.kms.ask import address, ask, bound, octets_of, refuse, text_of
from valetkey.server.vault.kms.service import Context
from valetkey.verify import base64url
from valetkey.verify.json import MalformedJson, parse_object
from valetkey.verify.jws import sign_rs256

HOME: Final = "https://cloudkms.googleapis.com/"
_SCOPE: Final = "https://www.googleapis.com/auth/cloudkms"
_GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_ASSERTION_SECONDS: Final = 300
_PART: Final = r"[A-Za-z0-9_.:-]+"
_KEY: Final = re.compile(f"projects/{_PART}/locations/{_PART}/keyRings/{_PART}/cryptoKeys/{_PART}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAccount:
    """Who asks: the parts of a service account's key file that matter."""

    email: str
    kid: str
    private: RSAPrivateKey
    token: Url

    def __repr__(self) -> str:
        return f"ServiceAccount(email={self.email}, kid={self.kid})"

    @classmethod
    def read(cls, content: Secret) -> "ServiceAccount":
        """Raises `RootKeyRefused` for what is no key file."""
        try:
            said = parse_object(content.reveal().encode())
            fields = [said[name] for name in ("client_email", "private_key_id", "private_key", "token_uri")]
            email, kid, pem, token = (field for field in fields if isinstance(field, str))
            private = load_pem_private_key(pem.encode(), password=None)
        except (MalformedJson, KeyError, TypeError, ValueError, UnsupportedAlgorithm):
            private = None
        if not isinstance(private, RSAPrivateKey):
            raise RootKeyRefused("root_secret is not the JSON key file of a service account.") from None
        return cls(email=email, kid=kid, private=private, token=address(token, what="token_uri of root_secret"))

    def assertion(self, now: float) -> Secret:
        """What the token endpoint takes for an access token."""
        head = {"alg": "RS256", "typ": "JWT", "kid": self.kid}
        claims = {"iss": self.email, "scope": _SCOPE, "aud": self.token.text, "iat": int(now)}
        claims["exp"] = int(now) + _ASSERTION_SECONDS
        parts = b".".join(base64url.encode(json.dumps(part).encode()) for part in (head, claims))
        return Secret((parts + b"." + base64url.encode(sign_rs256(self.private, parts))).decode())


@dataclass(frozen=True, slots=True, kw_only=True)
class GcpKms:
    """One key, named by its resource name."""

    egress: Egress
    base: Url
    key: str
    account: ServiceAccount
    now: Callable[[], float]
    name: str = "gcp"

    def __post_init__(self) -> None:
        if not _KEY.fullmatch(self.key):
            raise RootKeyRefused(
                f"root_key is the resource name of a key, and not {self.key}.",
                hint="projects/P/locations/L/keyRings/R/cryptoKeys/K",
            )

    async def wrap(self, key: SecretBytes, context: Context) -> bytes:
        sent = {"plaintext": base64.b64encode(key.reveal()).decode(), "additionalAuthenticatedData": _spelled(context)}
        status, answer = await self._asked("encrypt", sent)
        if status != 200:
            refuse(self.name, self.key, status, _code(answer))
        return octets_of(answer, "ciphertext", service=self.name).reveal()

    async def unwrap(self, wrapped: bytes, context: Context) -> SecretBytes | None:
        sent = {"ciphertext": base64.b64encode(wrapped).decode(), "additionalAuthenticatedData": _spelled(context)}
        status, answer = await self._asked("decrypt", sent)
        if status == 400 and _code(answer) == "INVALID_ARGUMENT":
            return None
        if status != 200:
            refuse(self.name, self.key, status, _code(answer))
        return octets_of(answer, "plaintext", service=self.name)

    async def _asked(self, verb: str, sent: dict[str, str]) -> tuple[int, dict[str, object]]:
        token = await self._token()
        target = self.base.target.rstrip(b"/") + f"/v1/{self.key}:{verb}".encode()
        headers = {"content-type": "application/json", "authorization": f"Bearer {token.reveal()}"}
        return await ask(self.egress, self.name, replace(self.base, target=target), json.dumps(sent).encode(), headers)

    async def _token(self) -> Secret:
        form = urlencode({"grant_type": _GRANT, "assertion": self.account.assertion(self.now()).reveal()})
        headers = {"content-type": "application/x-www-form-urlencoded"}
        status, answer = await ask(self.egress, self.name, self.account.token, form.encode(), headers)
        if status != 200:
            refuse(self.name, self.account.email, status, answer.get("error"))
        return Secret(text_of(answer, "access_token", service=self.name))


def _spelled(context: Context) -> str:
    return base64.b64encode(bound(context)).decode()


def _code(answer: dict[str, object]) -> str:
    error = answer.get("error")
    return str(error.get("status", "")) if isinstance(error, dict) else ""
