"""How a client proves who it is: a user's CLI credential, a client's id and secret, or an API token as it is.

Each prints without what it holds. `from_text` reads what VALETKEY_TOKEN may hold.
"""

from abc import ABC, abstractmethod
from typing import Final

from valetkey.client import protocol
from valetkey.client.errors import NotAuthenticated
from valetkey.client.protocol import Request

_USER: Final = "vkcl_"


class Proof(ABC):
    """Something that can ask for an API token. Prints as its kind."""

    __slots__ = ("_value", "client_id")

    def __init__(self, value: str, *, client_id: str = "") -> None:
        self._value = value
        self.client_id = client_id

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.client_id or '…'})"

    @abstractmethod
    def api_token(self) -> Request | str:
        """The request that gets an API token, or the token itself. Raises `NotAuthenticated` when there is none."""


class UserCredential(Proof):
    """A person's CLI credential, as `valetkey login` stores it."""

    __slots__ = ()

    def api_token(self) -> Request:
        return protocol.user_api_token(self._value)


class ClientSecret(Proof):
    """The id or name of an agent or a service account, and its secret."""

    __slots__ = ()

    def __init__(self, client_id: str, secret: str) -> None:
        super().__init__(secret, client_id=client_id)

    def api_token(self) -> Request:
        return protocol.client_api_token(self.client_id, self._value)


class ApiToken(Proof):
    """An API token somebody else fetched; it is not renewed."""

    __slots__ = ()

    def api_token(self) -> str:
        return self._value


def from_text(text: str) -> Proof:
    """Read `vkcl_…`, `NAME:vkag_…`, `NAME:vksa_…` or an API token. Raises `NotAuthenticated`.

    >>> from_text("ci-runner:vksa_abc")
    ClientSecret(ci-runner)
    """
    text = text.strip()
    name, colon, secret = text.rpartition(":")
    if text.startswith(_USER):
        return UserCredential(text)
    if colon and secret.startswith(("vkag_", "vksa_")):
        return ClientSecret(name, secret)
    if text.count(".") == 2:
        return ApiToken(text)
    raise NotAuthenticated(
        "This credential has no form that is known here.",
        hint="Give vkcl_… (a person), NAME:vkag_… or NAME:vksa_… (an agent, a service account), or an API token.",
    )
