"""HashiCorp Vault and OpenBao: the transit engine locks the root key, by a token or an AppRole.

A token of an AppRole is made for one opening and given back after it. The transit key must be of an authenticated
kind (`aes256-gcm96`, `chacha20-poly1305`): the context goes along as `associated_data`.
API: transit `encrypt/:name`, `decrypt/:name`; `auth/approle/login`; `auth/token/revoke-self`.
"""

import base64
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Final

from valetkey.server.egress import Egress
from valetkey.server.egress.url import Url
from valetkey.server.secret import Secret, SecretBytes
from valetkey.server.vault.errors import KeyServiceAway, RootKeyRefused
from valetkey.server.vault.kms.ask import ask, bound, octets_of, refuse, text_of
from valetkey.server.vault.kms.service import Context

_KEY: Final = re.compile(r"[A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+)*/[A-Za-z0-9_.-]+")
_CANNOT: Final = re.compile("unable to decrypt|message authentication failed|invalid ciphertext|no prefix")


@dataclass(frozen=True, slots=True, kw_only=True)
class Transit:
    """One transit key. `key` is `MOUNT/NAME`; `role` is the role id of an AppRole, or empty for a plain token."""

    egress: Egress
    base: Url
    key: str
    role: str
    secret: Secret
    name: str = "vault"

    def __post_init__(self) -> None:
        if not _KEY.fullmatch(self.key) or ".." in self.key:
            raise RootKeyRefused(f"root_key is MOUNT/NAME, such as transit/valetkey, and not {self.key}.")

    async def wrap(self, key: SecretBytes, context: Context) -> bytes:
        sent = {"plaintext": base64.b64encode(key.reveal()).decode(), "associated_data": _spelled(context)}
        status, answer = await self._transit("encrypt", sent)
        if status != 200:
            refuse(self.name, self.key, status, _code(answer))
        return text_of(_data(answer), "ciphertext", service=self.name).encode()

    async def unwrap(self, wrapped: bytes, context: Context) -> SecretBytes | None:
        sent = {"ciphertext": wrapped.decode("latin-1"), "associated_data": _spelled(context)}
        status, answer = await self._transit("decrypt", sent)
        if status == 400 and _CANNOT.search(_said(answer)):
            return None
        if status != 200:
            refuse(self.name, self.key, status, _code(answer))
        return octets_of(_data(answer), "plaintext", service=self.name)

    async def _transit(self, verb: str, sent: dict[str, str]) -> tuple[int, dict[str, object]]:
        mount, _, name = self.key.rpartition("/")
        async with self._token() as token:
            return await self._post(f"{mount}/{verb}/{name}", sent, token)

    @asynccontextmanager
    async def _token(self) -> AsyncIterator[Secret]:
        if not self.role:
            yield self.secret
            return
        login = {"role_id": self.role, "secret_id": self.secret.reveal()}
        status, answer = await self._post("auth/approle/login", login, None)
        if status != 200 or not isinstance(granted := answer.get("auth"), dict):
            refuse(self.name, "the AppRole", status, _code(answer))
        token = Secret(text_of(granted, "client_token", service=self.name))
        try:
            yield token
        finally:
            with suppress(KeyServiceAway):  # it ends by itself
                await self._post("auth/token/revoke-self", {}, token)

    async def _post(self, path: str, sent: dict[str, str], token: Secret | None) -> tuple[int, dict[str, object]]:
        url = replace(self.base, target=self.base.target.rstrip(b"/") + b"/v1/" + path.encode())
        headers = {"content-type": "application/json", "x-vault-request": "true"}
        if token is not None:
            headers["x-vault-token"] = token.reveal()
        return await ask(self.egress, self.name, url, json.dumps(sent).encode(), headers)


def _spelled(context: Context) -> str:
    return base64.b64encode(bound(context)).decode()


def _data(answer: dict[str, object]) -> dict[str, object]:
    data = answer.get("data")
    if not isinstance(data, dict):
        raise KeyServiceAway("The key service vault answered without data.")
    return data


def _said(answer: dict[str, object]) -> str:
    errors = answer.get("errors")
    return "; ".join(str(error) for error in errors) if isinstance(errors, list) else ""


def _code(answer: dict[str, object]) -> str:
    """Its sentences name paths and keys, so only their first words are shown."""
    return "-".join(re.findall("[A-Za-z]+", _said(answer))[:6])
