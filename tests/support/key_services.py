"""Stand-ins for four key services, honest about the wire: each checks who asks, by itself, before it does anything.

They keep their keys in memory, authenticate the context with AES-GCM (Azure: RSA-OAEP, which cannot), and answer
refusals in the words of the real ones. Nothing here is imported from the product.
"""

import base64
import hashlib
import hmac
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

import jwt
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

Answer = tuple[int, dict[str, Any]]


@dataclass
class Asked:
    """One request as it came."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    def form(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(self.body.decode(), strict_parsing=True).items()}


class Service:
    """An ASGI application over `answer`; remembers what it was asked. `away` answers 503 like an overloaded one."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.away = False
        self.aead = AESGCM(os.urandom(32))
        self.base = ""

    def answer(self, asked: Asked) -> Answer:
        raise NotImplementedError

    def settings(self) -> dict[str, Any]:
        """What an operator writes to use this service."""
        raise NotImplementedError

    def lock(self, plaintext: bytes, aad: bytes) -> bytes:
        nonce = os.urandom(12)
        return nonce + self.aead.encrypt(nonce, plaintext, aad)

    def unlock(self, ciphertext: bytes, aad: bytes) -> bytes | None:
        try:
            return self.aead.decrypt(ciphertext[:12], ciphertext[12:], aad)
        except (InvalidTag, ValueError):
            return None

    async def __call__(self, scope: Any, receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
        body, more = b"", True
        while more:
            event = await receive()
            body, more = body + event.get("body", b""), event.get("more_body", False)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        asked = Asked(scope["method"], scope["raw_path"].decode(), scope["query_string"].decode(), headers, body)
        self.asked.append(asked)
        status, said = (503, {"errors": ["away"]}) if self.away else self.answer(asked)
        content = json.dumps(said).encode() if said else b""
        sent = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": sent})
        await send({"type": "http.response.body", "body": content})


@dataclass
class VaultService(Service):
    """Transit under `transit/`, one AppRole. A token of the AppRole lives until it is given back."""

    role: str = "role-1"
    secret_id: str = "secret-id-canary"
    root_token: str = "s.token-canary"
    spelled: str = "hvs."
    """How its tokens begin."""
    tokens: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()
        self.tokens = {self.root_token}

    def settings(self) -> dict[str, Any]:
        return {
            "root": "vault",
            "root_url": self.base + "/",
            "root_key": "transit/valetkey",
            "root_identity": self.role,
            "root_secret": self.secret_id,
        }

    def answer(self, asked: Asked) -> Answer:
        if asked.headers.get("x-vault-request") != "true" or asked.method != "POST":
            return 412, {"errors": ["required 'X-Vault-Request' header is missing"]}
        if asked.path == "/v1/auth/approle/login":
            if asked.json() != {"role_id": self.role, "secret_id": self.secret_id}:
                return 400, {"errors": ["invalid role or secret ID"]}
            self.tokens.add(token := self.spelled + os.urandom(8).hex())
            return 200, {"auth": {"client_token": token, "lease_duration": 1200, "renewable": True}}
        token = asked.headers.get("x-vault-token", "")
        if token not in self.tokens:
            return 403, {"errors": ["permission denied"]}
        if asked.path == "/v1/auth/token/revoke-self":
            self.tokens.discard(token)
            return 204, {}
        verb, _, name = asked.path.removeprefix("/v1/transit/").partition("/")
        if name != "valetkey":
            return 400, {"errors": ["encryption key not found"]}
        said = asked.json()
        aad = base64.b64decode(said["associated_data"], validate=True)
        if verb == "encrypt":
            locked = self.lock(base64.b64decode(said["plaintext"], validate=True), aad)
            spelled = "vault:v1:" + base64.b64encode(locked).decode()
            return 200, {"data": {"ciphertext": spelled, "key_version": 1}, "request_id": "1"}
        if not said["ciphertext"].startswith("vault:v1:"):
            return 400, {"errors": ["invalid ciphertext: no prefix"]}
        opened = self.unlock(base64.b64decode(said["ciphertext"][9:]), aad)
        if opened is None:
            return 400, {"errors": ["invalid ciphertext: unable to decrypt"]}
        return 200, {"data": {"plaintext": base64.b64encode(opened).decode()}}


@dataclass
class AwsService(Service):
    """One key. The signature is worked out here from what arrived, from the specification's own steps."""

    now: Callable[[], float]
    arn: str = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    access_key: str = "AKIDEXAMPLE"
    secret: str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"

    def __post_init__(self) -> None:
        super().__init__()

    def settings(self) -> dict[str, Any]:
        return {
            "root": "aws",
            "root_url": self.base + "/",
            "root_key": self.arn,
            "root_identity": self.access_key,
            "root_secret": self.secret,
        }

    def answer(self, asked: Asked) -> Answer:
        if (refused := self._unsigned(asked)) is not None:
            return 400, {"__type": refused, "message": "no"}
        said = asked.json()
        if said["KeyId"] != self.arn:
            return 400, {"__type": "NotFoundException", "message": "no"}
        aad = json.dumps(said["EncryptionContext"], sort_keys=True).encode()
        if asked.headers["x-amz-target"] == "TrentService.Encrypt":
            locked = self.lock(base64.b64decode(said["Plaintext"], validate=True), aad)
            return 200, {"CiphertextBlob": base64.b64encode(locked).decode(), "KeyId": self.arn}
        opened = self.unlock(base64.b64decode(said["CiphertextBlob"], validate=True), aad)
        if opened is None:
            return 400, {"__type": "com.amazonaws.kms#InvalidCiphertextException"}
        return 200, {"Plaintext": base64.b64encode(opened).decode(), "KeyId": self.arn}

    def _unsigned(self, asked: Asked) -> str | None:
        found = re.fullmatch(
            r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([a-z0-9-]+)/kms/aws4_request, "
            r"SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})",
            asked.headers.get("authorization", ""),
        )
        if found is None:
            return "MissingAuthenticationTokenException"
        access, day, region, names, signature = found.groups()
        if access != self.access_key:
            return "UnrecognizedClientException"
        if not {"host", "x-amz-date", "x-amz-target", "content-type"} <= set(names.split(";")):
            return "IncompleteSignatureException"
        at = datetime.strptime(asked.headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        if abs(at.timestamp() - self.now()) > 300 or not asked.headers["x-amz-date"].startswith(day):
            return "InvalidSignatureException"
        canonical = asked.method + "\n" + asked.path + "\n" + asked.query + "\n"
        canonical += "".join(f"{name}:{asked.headers[name].strip()}\n" for name in names.split(";"))
        canonical += "\n" + names + "\n" + hashlib.sha256(asked.body).hexdigest()
        scope = f"{day}/{region}/kms/aws4_request"
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        to_sign = f"AWS4-HMAC-SHA256\n{asked.headers['x-amz-date']}\n{scope}\n{digest}"
        key = ("AWS4" + self.secret).encode()
        for part in (day, region, "kms", "aws4_request", to_sign):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        right = region == self.arn.split(":")[3] and hmac.compare_digest(key.hex(), signature)
        return None if right else "InvalidSignatureException"


@dataclass
class GcpService(Service):
    """One key and the token endpoint of one service account."""

    now: Callable[[], float]
    key: str = "projects/acme/locations/europe-west1/keyRings/ring/cryptoKeys/valetkey"
    email: str = "valetkey@acme.iam.gserviceaccount.com"
    tokens: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()
        self.private = rsa.generate_private_key(65537, 2048)

    def settings(self) -> dict[str, Any]:
        pem = self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        account = {
            "type": "service_account",
            "client_email": self.email,
            "private_key_id": "kid-1",
            "private_key": pem,
            "token_uri": self.base + "/token",
        }
        return {"root": "gcp", "root_url": self.base + "/", "root_key": self.key, "root_secret": json.dumps(account)}

    def answer(self, asked: Asked) -> Answer:
        if asked.path == "/token":
            form = asked.form()
            options: Any = {"verify_exp": False, "verify_iat": False, "require": ["iss", "aud", "exp", "iat", "scope"]}
            try:
                claims = jwt.decode(
                    form["assertion"],
                    self.private.public_key(),
                    algorithms=["RS256"],
                    audience=self.base + "/token",
                    issuer=self.email,
                    options=options,
                )
            except jwt.InvalidTokenError:
                return 400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
            fresh = claims["iat"] <= self.now() + 60 and self.now() < claims["exp"] <= claims["iat"] + 3600
            if not fresh or form["grant_type"] != "urn:ietf:params:oauth:grant-type:jwt-bearer":
                return 400, {"error": "invalid_grant"}
            if claims["scope"] != "https://www.googleapis.com/auth/cloudkms":
                return 400, {"error": "invalid_scope"}
            self.tokens.add(token := "ya29." + os.urandom(8).hex())
            return 200, {"access_token": token, "expires_in": 3599, "token_type": "Bearer"}
        if asked.headers.get("authorization", "").removeprefix("Bearer ") not in self.tokens:
            return 401, {"error": {"code": 401, "status": "UNAUTHENTICATED", "message": "no"}}
        name, _, verb = asked.path.removeprefix("/v1/").rpartition(":")
        if name != self.key:
            return 404, {"error": {"code": 404, "status": "NOT_FOUND", "message": "no"}}
        said = asked.json()
        aad = base64.b64decode(said["additionalAuthenticatedData"], validate=True)
        if verb == "encrypt":
            locked = self.lock(base64.b64decode(said["plaintext"], validate=True), aad)
            version = self.key + "/cryptoKeyVersions/1"
            return 200, {"name": version, "ciphertext": base64.b64encode(locked).decode(), "protectionLevel": "HSM"}
        opened = self.unlock(base64.b64decode(said["ciphertext"], validate=True), aad)
        if opened is None:
            return 400, {"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "Decryption failed"}}
        return 200, {"plaintext": base64.b64encode(opened).decode(), "usedPrimary": True}


@dataclass
class AzureService(Service):
    """One version of an RSA key, and the token endpoint of one tenant."""

    version: str = "0123456789abcdef0123456789abcdef"
    client: str = "11111111-2222-3333-4444-555555555555"
    secret: str = "azure~canary"
    tokens: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()
        self.private = rsa.generate_private_key(65537, 2048)

    def settings(self) -> dict[str, Any]:
        return {
            "root": "azure",
            "root_key": f"{self.base}/keys/valetkey/{self.version}",
            "root_identity": f"{self.base}/acme-tenant/{self.client}",
            "root_secret": self.secret,
        }

    def answer(self, asked: Asked) -> Answer:
        if asked.path == "/acme-tenant/oauth2/v2.0/token":
            form = asked.form()
            if (form["client_id"], form["client_secret"]) != (self.client, self.secret):
                return 401, {"error": "invalid_client", "error_description": "AADSTS7000215"}
            if form["grant_type"] != "client_credentials" or not form["scope"].endswith("/.default"):
                return 400, {"error": "invalid_scope"}
            self.tokens.add(token := "eyJ." + os.urandom(8).hex())
            return 200, {"access_token": token, "expires_in": 3599, "token_type": "Bearer"}
        if asked.headers.get("authorization", "").removeprefix("Bearer ") not in self.tokens:
            return 401, {"error": {"code": "Unauthorized", "message": "no"}}
        place, _, verb = asked.path.rpartition("/")
        if place != f"/keys/valetkey/{self.version}" or asked.query != "api-version=7.4":
            return 404, {"error": {"code": "KeyNotFound", "message": "no"}}
        said = asked.json()
        value = base64.urlsafe_b64decode(said["value"] + "=" * (-len(said["value"]) % 4))
        oaep = padding.OAEP(padding.MGF1(SHA256()), SHA256(), None)
        assert said["alg"] == "RSA-OAEP-256"
        try:
            done = (
                self.private.public_key().encrypt(value, oaep)
                if verb == "wrapkey"
                else self.private.decrypt(value, oaep)
            )
        except ValueError:
            return 400, {"error": {"code": "BadParameter", "message": "no"}}
        spelled = base64.urlsafe_b64encode(done).decode().rstrip("=")
        return 200, {"kid": f"{self.base}{place}", "value": spelled}
