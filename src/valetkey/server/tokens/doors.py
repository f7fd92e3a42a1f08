"""Which token opens which door: one table, nothing else anywhere."""

from collections.abc import Mapping
from enum import Enum
from urllib.parse import urlsplit

from valetkey.server.tokens.model import Kind


class Door(Enum):
    GATEWAY = "/p"
    EXCHANGE = "/oauth/token"
    API = "/v1"


LAYOUT: Mapping[str, Kind] = {"agent": Kind.DELEGATED, "rfc8693": Kind.RESOURCE}
"""The layout belongs to the audience; the `typ` says which one a credential has."""

OPENS: Mapping[Door, Kind] = {
    Door.GATEWAY: Kind.DELEGATED,
    Door.EXCHANGE: Kind.TASK,
    Door.API: Kind.API,
}

MAX_LIFETIME: Mapping[Kind, int] = {
    Kind.DELEGATED: 900,
    Kind.RESOURCE: 900,
    Kind.TASK: 8 * 3600,
    Kind.API: 900,
    Kind.ID: 900,
}
"""Seconds a token of each kind can live; one that claims more is not ours."""


def api_audience(issuer: str) -> str:
    """The audience of tokens for /v1."""
    return f"{issuer}/v1"


def well_known(address: str, document: str) -> str:
    """Where the document about an address is: the well-known part stands before its path. RFC 8414 section 3.1.

    >>> well_known("https://keys.acme.com/p/github", "oauth-protected-resource")
    'https://keys.acme.com/.well-known/oauth-protected-resource/p/github'
    """
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}/.well-known/{document}{parts.path.rstrip('/')}"


def gateway_address(gateway: str, integration: str) -> str:
    """The base URL at which an integration is reached; in requests it means the integration's audience."""
    return f"{gateway}/p/{integration}"
