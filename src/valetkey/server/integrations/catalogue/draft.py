"""A draft of a file from what an authorization server says of itself (RFC 8414, OpenID Connect Discovery).

Responsible for where that is said, for believing nothing of another issuer, and for text that is TOML whatever was
said. Refuses to know how it is fetched. What a server cannot say, a person fills in: `…` is refused until then.
"""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from valetkey.server.integrations.catalogue.typed import Misdescribed, check_address

_NAMED: Final = re.compile(r"[A-Za-z0-9:/._*-]{1,200}")
_MOST_SCOPES: Final = 200
_HEAD: Final = """\
# Drafted from {source}. Fill in what is … and try it: valetkey integrations test {name}.toml
name = "{name}"
title = "{host}"
audience = "https://…"
base_url = "https://…"
hosts = ["…"]
operations = "{name}.operations.tsv"

[injection]
header = "authorization"
value = "Bearer {{token}}"

[[token_positions]]
header = "authorization"
scheme = "Bearer"

[oauth]
"""


def places(issuer: str) -> tuple[str, ...]:
    """Where an issuer says it, first things first (RFC 8414 section 3.1, OpenID Connect Discovery section 4).

    >>> places("https://id.acme.com/t1")[0]
    'https://id.acme.com/.well-known/oauth-authorization-server/t1'
    """
    check_address(issuer, "the address", loopback=True)
    parts = urlsplit(issuer)
    host, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
    return (
        f"{host}/.well-known/oauth-authorization-server{path}",
        f"{host}{path}/.well-known/openid-configuration",
    )


def draft(issuer: str, metadata: Mapping[str, object], source: str) -> str:
    """The text of a file. Raises `Misdescribed` for metadata that is another issuer's, or names no endpoints."""
    # SECURITY: byte for byte, or one server could speak for another (RFC 8414 section 3.3).
    if metadata.get("issuer") != issuer:
        raise Misdescribed("issuer", "it is another issuer's", "the issuer exactly as it calls itself")
    host = urlsplit(issuer).hostname or ""
    name = re.sub(r"[^a-z0-9-]+", "-", host.split(".")[-2] if host.count(".") else host) or "api"
    lines = [_HEAD.format(source=source, name=name, host=host)]
    lines.append(f'authorize_url = "{_address(metadata, "authorization_endpoint")}"\n')
    lines.append(f'token_url = "{_address(metadata, "token_endpoint")}"\n')
    if "device_authorization_endpoint" in metadata:
        lines.append(f'device_url = "{_address(metadata, "device_authorization_endpoint")}"\n')
    lines.append(f'issuer = "{issuer}"\n')
    if metadata.get("authorization_response_iss_parameter_supported") is True:
        lines.append("sends_iss = true\n")
    lines.append(f'client_authentication = "{_authentication(metadata)}"\n')
    if "S256" not in _listed(metadata, "code_challenge_methods_supported"):
        lines.append("pkce = false  # it does not say that it knows S256\n")
    if "refresh_token" in _listed(metadata, "grant_types_supported"):
        lines.append('refresh = "rotating"  # "stable" where a refresh token is good more than once\n')
    if "revocation_endpoint" in metadata:
        address = _address(metadata, "revocation_endpoint")
        lines.append(f'\n[oauth.revocation]\nby = "rfc7009"\nurl = "{address}"\nkills = "token"\n')
    for scope in _listed(metadata, "scopes_supported"):
        lines.append(f'\n[oauth.scopes."{scope}"]\nsentence = "…"\ntier = "read"\ncovers = []\n')
    return "".join(lines)


def _address(metadata: Mapping[str, object], name: str) -> str:
    value = metadata.get(name)
    if not isinstance(value, str) or '"' in value or "\\" in value:
        raise Misdescribed(name, "is missing, or no address", "the address, written by hand")
    check_address(value, name, loopback=True)
    return value


def _authentication(metadata: Mapping[str, object]) -> str:
    methods = _listed(metadata, "token_endpoint_auth_methods_supported") or ("client_secret_basic",)  # RFC 8414
    if "client_secret_basic" in methods:
        return "basic"
    return "post" if "client_secret_post" in methods else "none"


def _listed(metadata: Mapping[str, object], name: str) -> tuple[str, ...]:
    """The names of a list that can be written between quotes; others are left out."""
    found = metadata.get(name)
    named = [item for item in found if isinstance(item, str)] if isinstance(found, list) else []
    return tuple(item for item in dict.fromkeys(named) if _NAMED.fullmatch(item))[:_MOST_SCOPES]
