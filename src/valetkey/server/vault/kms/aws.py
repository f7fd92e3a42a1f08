"""AWS Key Management Service: a symmetric key locks the root key, by an access key that may encrypt and decrypt.

The context goes along as the encryption context, so it also stands in CloudTrail. The key is named by its whole ARN,
in decryption too: a ciphertext of another key, in whoever's account, is refused.
API: `TrentService.Encrypt`, `TrentService.Decrypt`, JSON 1.1.
"""

import base64
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from valetkey.server.egress import Egress
from valetkey.server.egress.url import Url
from valetkey.server.secret import Secret, SecretBytes
from valetkey.server.sigv4 import signed
from valetkey.server.vault.errors import RootKeyRefused
from valetkey.server.vault.kms.ask import ask, octets_of, refuse
from valetkey.server.vault.kms.service import Context

_ARN: Final = re.compile(r"arn:(aws[a-z-]*):kms:([a-z0-9-]+):([0-9]{12}):(?:key|alias)/[A-Za-z0-9/_-]+")
_NOT_OURS: Final = frozenset({"InvalidCiphertextException", "IncorrectKeyException"})


def home_of(arn: str) -> str:
    """Where the key of this ARN is asked. Raises `RootKeyRefused`.

    >>> home_of("arn:aws:kms:eu-west-1:111122223333:key/1234abcd")
    'https://kms.eu-west-1.amazonaws.com/'
    """
    partition, region = _parts(arn)
    suffix = "amazonaws.com.cn" if partition == "aws-cn" else "amazonaws.com"
    return f"https://kms.{region}.{suffix}/"


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsKms:
    """One key, named by its ARN."""

    egress: Egress
    base: Url
    key: str
    access_key: str
    secret: Secret
    now: Callable[[], float]
    name: str = "aws"

    async def wrap(self, key: SecretBytes, context: Context) -> bytes:
        sent = {"Plaintext": base64.b64encode(key.reveal()).decode(), "EncryptionContext": dict(context)}
        status, answer = await self._asked("Encrypt", sent)
        if status != 200:
            refuse(self.name, self.key, status, _code(answer))
        return octets_of(answer, "CiphertextBlob", service=self.name).reveal()

    async def unwrap(self, wrapped: bytes, context: Context) -> SecretBytes | None:
        sent = {"CiphertextBlob": base64.b64encode(wrapped).decode(), "EncryptionContext": dict(context)}
        status, answer = await self._asked("Decrypt", sent)
        if status == 400 and _code(answer) in _NOT_OURS:
            return None
        if status != 200:
            refuse(self.name, self.key, status, _code(answer))
        return octets_of(answer, "Plaintext", service=self.name)

    async def _asked(self, verb: str, sent: Mapping[str, object]) -> tuple[int, dict[str, object]]:
        body = json.dumps({"KeyId": self.key, **sent}).encode()
        host = self.base.host if self.base.port == 443 else self.base.place
        headers = signed(
            "POST",
            self.base.target.decode(),
            {"host": host, "content-type": "application/x-amz-json-1.1", "x-amz-target": f"TrentService.{verb}"},
            body,
            access_key=self.access_key,
            secret=self.secret,
            region=_parts(self.key)[1],
            service="kms",
            now=self.now(),
        )
        del headers["host"]  # the client writes it, from the same address
        return await ask(self.egress, self.name, self.base, body, headers)


def _parts(arn: str) -> tuple[str, str]:
    found = _ARN.fullmatch(arn)
    if found is None:
        raise RootKeyRefused(
            f"root_key is the whole ARN of a key, and not {arn}.", hint="arn:aws:kms:REGION:ACCOUNT:key/ID"
        )
    return found[1], found[2]


def _code(answer: dict[str, object]) -> str:
    return str(answer.get("__type", "")).rpartition("#")[2]
