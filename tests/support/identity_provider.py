"""An identity provider on a socket of its own: right by default, and wrong in exactly one way where a test says so."""

import json
import secrets
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key

from valetkey.verify import base64url
from valetkey.verify.jws import sign_es256
from valetkey.verify.keys import PublicKey


@dataclass
class IdentityProvider:
    """An ASGI application. `person` are the claims of who signs in there; `lies` change one answer.

    Known lies: `metadata`, `claims`, `header` (merged into what is answered), `token` (the ID token), `key` (signs
    in place of the published one), `status` and `body` of the token endpoint, `jwks` (merged into each key).
    """

    now: Any
    base_url: str = ""
    person: dict[str, Any] = field(default_factory=dict)
    lies: dict[str, Any] = field(default_factory=dict)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    redeemed: list[tuple[dict[str, str], str]] = field(default_factory=list)
    key: EllipticCurvePrivateKey = field(default_factory=lambda: generate_private_key(SECP256R1()))

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"]
        if path == "/.well-known/openid-configuration":
            await _json(send, 200, self._metadata())
        elif path == "/keys":
            jwk = PublicKey("k1", "ES256", self.key.public_key()).jwk() | self.lies.get("jwks", {})
            await _json(send, 200, {"keys": [{name: value for name, value in jwk.items() if value is not None}]})
        elif path == "/token":
            body = b""
            while (message := await receive()).get("more_body") or message.get("body"):
                body += message.get("body", b"")
                if not message.get("more_body"):
                    break
            headers = {name.decode(): value.decode() for name, value in scope["headers"]}
            form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
            self.redeemed.append((form, headers.get("authorization", "")))
            await _json(send, self.lies.get("status", 200), self._token(form))
        else:
            await _json(send, 404, {})

    def authorize(self, address: str) -> str:
        """What the browser would be sent back to after signing in there."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        code = secrets.token_urlsafe(16)
        self.codes[code] = asked
        answer = {"state": asked["state"], "code": code}
        if "iss" in self.lies or self.lies.get("metadata", {}).get("authorization_response_iss_parameter_supported"):
            answer["iss"] = self.lies.get("iss", self.base_url)
        if answer.get("iss", "") is None:
            del answer["iss"]
        where = urlsplit(asked["redirect_uri"])
        return f"{where.path}?{urlencode(answer)}"

    def _metadata(self) -> dict[str, Any]:
        return {
            "issuer": self.base_url,
            "authorization_endpoint": f"{self.base_url}/authorize",
            "token_endpoint": f"{self.base_url}/token",
            "jwks_uri": f"{self.base_url}/keys",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        } | self.lies.get("metadata", {})

    def _token(self, form: dict[str, str]) -> Any:
        if "body" in self.lies:
            return self.lies["body"]
        asked = self.codes.pop(form.get("code", ""), None)
        if asked is None:
            return {"error": "invalid_grant"}
        claims = {
            "iss": self.base_url,
            "aud": asked["client_id"],
            "nonce": asked["nonce"],
            "iat": int(self.now()),
            "exp": int(self.now()) + 300,
            "auth_time": int(self.now()),
            **self.person,
        } | self.lies.get("claims", {})
        claims = {name: value for name, value in claims.items() if value is not None}
        header = {"alg": "ES256", "kid": "k1", "typ": "JWT"} | self.lies.get("header", {})
        header = {name: value for name, value in header.items() if value is not None}
        signing_input = b".".join(base64url.encode(json.dumps(part).encode()) for part in (header, claims))
        signature = sign_es256(self.lies.get("key", self.key), signing_input)
        token = (signing_input + b"." + base64url.encode(signature)).decode()
        return {"access_token": "unused", "token_type": "Bearer", "id_token": self.lies.get("token", token)}


async def _json(send: Any, status: int, content: Any) -> None:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if 300 <= status < 400:
        headers.append((b"location", b"/elsewhere"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
