"""What an identity provider says of itself, and the four calls we make to one. Everything it answers is bounded.

Specs: OpenID Connect Discovery sections 3 and 4, RFC 8414, RFC 6749 section 4.1.3, RFC 7636.
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote_plus, urlencode, urlsplit

from valetkey.server.egress import Egress, Url
from valetkey.server.errors import InvalidRequest, UpstreamFailed
from valetkey.server.secret import Secret
from valetkey.verify.errors import InvalidKey
from valetkey.verify.json import MalformedJson, parse_object
from valetkey.verify.keys import PublicKey, parse_jwks

LARGEST_DOCUMENT: Final = 256 * 1024
SECONDS: Final = 10.0
_BEARER: Final = re.compile(r"[A-Za-z0-9\-._~+/]+=*")  # RFC 6750 section 2.1
_ALGORITHM_OF: Final = {("RSA", None): "RS256", ("EC", "P-256"): "ES256", ("OKP", "Ed25519"): "Ed25519"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """Where a provider does what."""

    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    promises_iss: bool  # RFC 9207 section 3
    posts_secret: bool
    userinfo_endpoint: str | None

    @property
    def origin(self) -> str:
        """Where people sign in."""
        parts = urlsplit(self.authorization_endpoint)
        return f"{parts.scheme}://{parts.netloc}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Redeemed:
    """What a provider gives for a code. The access token is good at its userinfo endpoint and never kept."""

    id_token: str
    access_token: Secret | None


class Calls:
    """One per process."""

    def __init__(self, egress: Egress) -> None:
        self._egress = egress

    async def metadata(self, issuer: str) -> Metadata:
        """Ask the issuer. Raises `InvalidRequest` for an address that is none, `UpstreamFailed` for a bad answer."""
        document = await self._get(issuer.rstrip("/") + "/.well-known/openid-configuration")
        # SECURITY: byte for byte, or one provider could speak for another (OIDC Discovery section 4.3).
        # Guarded by tests/flows/test_sso.py::test_a_provider_that_misbehaves_signs_nobody_in
        if document.get("issuer") != issuer:
            raise _bad("it names another issuer")
        endpoints = {}
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            value = document.get(name)
            if not isinstance(value, str):
                raise _bad(f"{name} is missing")
            url_of(value)
            endpoints[name] = value
        methods = document.get("token_endpoint_auth_methods_supported")
        userinfo = document.get("userinfo_endpoint")
        return Metadata(
            authorization_endpoint=endpoints["authorization_endpoint"],
            token_endpoint=endpoints["token_endpoint"],
            jwks_uri=endpoints["jwks_uri"],
            promises_iss=document.get("authorization_response_iss_parameter_supported") is True,
            posts_secret=isinstance(methods, list) and "client_secret_basic" not in methods,
            userinfo_endpoint=userinfo if isinstance(userinfo, str) else None,
        )

    async def keys(self, metadata: Metadata) -> Mapping[str, PublicKey]:
        """The provider's keys, strictly read. A key that does not say its algorithm has its family's usual one."""
        document = await self._get(metadata.jwks_uri)
        listed = document.get("keys")
        if isinstance(listed, list):
            document = {**document, "keys": [_with_algorithm(key) for key in listed]}
        try:
            return parse_jwks(document)
        except InvalidKey as error:
            raise _bad(f"its keys: {error}") from error

    async def redeem(
        self, metadata: Metadata, *, client_id: str, secret: Secret | None, code: str, verifier: Secret, callback: str
    ) -> Redeemed:
        """What a code is worth. The ID token has proven nothing yet."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": callback,
            "code_verifier": verifier.reveal(),
        }
        headers = [
            (b"accept", b"application/json"),
            (b"content-type", b"application/x-www-form-urlencoded"),
        ]
        if secret is None or metadata.posts_secret:
            form["client_id"] = client_id
            if secret is not None:
                form["client_secret"] = secret.reveal()
        else:
            pair = f"{quote_plus(client_id)}:{quote_plus(secret.reveal())}"  # RFC 6749 section 2.3.1
            headers.append((b"authorization", b"Basic " + base64.b64encode(pair.encode())))
        body = urlencode(form).encode()
        headers.append((b"content-length", str(len(body)).encode()))
        document = await self._fetched("POST", url_of(metadata.token_endpoint), headers, body)
        token, access = document.get("id_token"), document.get("access_token")
        if not isinstance(token, str):
            raise _bad("it gave no ID token")
        return Redeemed(id_token=token, access_token=Secret(access) if isinstance(access, str) and access else None)

    async def userinfo(self, address: str, token: Secret, *, subject: str) -> Mapping[str, object]:
        """More claims about the person of a verified ID token (OpenID Connect Core section 5.3)."""
        if _BEARER.fullmatch(token.reveal()) is None:
            raise _bad("its access token is none")
        headers = [(b"accept", b"application/json"), (b"authorization", f"Bearer {token.reveal()}".encode())]
        claims = await self._fetched("GET", url_of(address), headers, None)
        # SECURITY: an access token says nothing of whom it is for: claims of another person must not be taken (5.3.2).
        # Guarded by tests/flows/test_company.py::test_what_is_told_of_another_person_is_not_taken
        if claims.get("sub") != subject:
            raise _bad("it told about another person")
        return claims

    async def _get(self, address: str) -> dict[str, Any]:
        return await self._fetched("GET", url_of(address), [(b"accept", b"application/json")], None)

    async def _fetched(
        self, method: str, url: Url, headers: list[tuple[bytes, bytes]], body: bytes | None
    ) -> dict[str, Any]:
        try:
            status, _, answer = await self._egress.fetch(
                method, url, headers, max_bytes=LARGEST_DOCUMENT, timeout=SECONDS, body=body
            )
        except UpstreamFailed as error:
            raise _bad("it cannot be reached, or says too much", error.detail) from error
        if status != 200:
            raise _bad(f"it answered {status}")
        try:
            return parse_object(answer)
        except MalformedJson as error:
            raise _bad("its answer is not JSON we accept") from error


def url_of(address: str) -> Url:
    """An address as egress wants it. Raises `InvalidRequest` for anything but plain http(s) without a fragment."""
    try:
        parts = urlsplit(address)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        if parts.scheme not in ("http", "https") or parts.fragment or "@" in parts.netloc or not parts.hostname:
            raise ValueError("not an http(s) address")
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        scheme: Any = parts.scheme
        return Url(scheme=scheme, host=host, port=port, target=target.encode("ascii"))
    except (ValueError, UnicodeEncodeError) as error:
        raise InvalidRequest("An identity provider's address is https://HOST[:PORT][/PATH].") from error


def _with_algorithm(key: object) -> object:
    if not isinstance(key, dict) or "alg" in key:
        return key
    curve = key.get("crv")
    usual = _ALGORITHM_OF.get((str(key.get("kty")), curve if isinstance(curve, str) else None))
    return key if usual is None else key | {"alg": usual}


def _bad(words: str, detail: str = "") -> UpstreamFailed:
    return UpstreamFailed(f"The identity provider did not answer properly: {words}.", detail=detail or words)
