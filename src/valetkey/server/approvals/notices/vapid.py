"""Who sends a push message, proven to the push service (RFC 8292): a key of the deployment, the same on every node.

The key comes from the pepper that handles are authenticated with: it needs no row, and outlives the root key.
"""

from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from valetkey.server.approvals.notices.encrypted import public_bytes
from valetkey.server.egress import Url
from valetkey.server.vault.mac import Mac
from valetkey.verify import base64url, jws

LASTS_SECONDS: Final = 3600  # section 2: at most a day
_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256 (SEC 2, section 2.4.2)


class Vapid:
    """The key, and the tokens it signs. `contact` is where a push service may complain: our own https address."""

    def __init__(self, mac: Mac, *, contact: str) -> None:
        wide = mac.mac_of("push-key", "vapid", b"1") + mac.mac_of("push-key", "vapid", b"2")
        # 512 bits over a 256-bit order: no value is likelier than another (FIPS 186-5, A.2.1).
        self._key = ec.derive_private_key(int.from_bytes(wide, "big") % (_ORDER - 1) + 1, ec.SECP256R1())
        self._contact = contact
        self.public = base64url.encode(public_bytes(self._key.public_key())).decode()
        """What a browser subscribes for: `applicationServerKey`."""

    def header(self, endpoint: Url, *, now: float) -> bytes:
        """The value of `Authorization` for a message to this push service."""
        origin = endpoint.text.removesuffix(endpoint.target.decode())
        claims: dict[str, object] = {"aud": origin, "exp": int(now) + LASTS_SECONDS}
        if self._contact.startswith("https://"):
            claims["sub"] = self._contact
        signing = jws.signing_input("ES256", "push", "JWT", msgspec.json.encode(claims))
        return f"vapid t={jws.compact(signing, jws.sign_es256(self._key, signing))}, k={self.public}".encode()
