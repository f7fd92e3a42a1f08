"""Writes tests/vectors/sealed_blobs.json: sealed records made from the written format alone.

Shares no code with the vault, so that each checks the other: HKDF is spelled out, only AES-GCM comes from a library.
Run `python -m tools.sealed_blob_vectors > tests/vectors/sealed_blobs.json`.
"""

import hashlib
import hmac
import json
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

LABEL = b"valetkey sealed record 1"


def framed(*fields: bytes) -> bytes:
    return b"".join(len(field).to_bytes(8, "big") + field for field in fields)


def place_bytes(place: dict[str, Any]) -> bytes:
    def text(value: str | None) -> bytes:
        return b"-" if value is None else b"t" + value.encode()

    hosts = framed(*sorted(host.encode() for host in place["allowed_hosts"]))
    return framed(
        b"valetkey place 1",
        *(text(place[name]) for name in ("deployment", "organization", "table", "column", "row")),
        *(text(place[name]) for name in ("owner", "integration")),
        b"h" + hashlib.sha256(hosts).digest(),
        *(b"n" + int(place[name]).to_bytes(8, "big") for name in ("generation", "format")),
    )


def hkdf(key: bytes, salt: bytes, info: bytes) -> tuple[bytes, bytes]:
    extracted = hmac.digest(salt, key, "sha256")
    one = hmac.digest(extracted, info + b"\x01", "sha256")
    return one, hmac.digest(extracted, one + info + b"\x02", "sha256")


def sealed(
    dek: bytes, key_id: bytes, salt: bytes, nonce: bytes, place: dict[str, Any], plaintext: bytes
) -> dict[str, str]:
    header = b"VKSB" + bytes([1, 1]) + key_id + salt + nonce
    context = framed(LABEL, header, place_bytes(place))
    key, commitment = hkdf(dek, salt, LABEL + hashlib.sha256(context).digest())
    blob = header + commitment + AESGCM(key).encrypt(nonce, plaintext, context)
    return {"context": context.hex(), "record_key": key.hex(), "commitment": commitment.hex(), "blob": blob.hex()}


def vector(name: str, number: int, plaintext: bytes, **changed: Any) -> dict[str, Any]:
    place = {
        "deployment": "dep-1",
        "organization": "org_1",
        "table": "connections",
        "column": "sealed",
        "row": "con_1",
        "owner": "usr_1",
        "integration": "github",
        "allowed_hosts": ["api.github.com", "uploads.github.com"],
        "generation": 1,
        "format": 1,
    } | changed

    def drawn(label: str) -> bytes:
        return hashlib.sha256(f"valetkey vector {number} {label}".encode()).digest()

    dek, key_id, salt, nonce = drawn("data key"), drawn("key id")[:16], drawn("salt"), drawn("nonce")[:12]
    given = {"dek": dek.hex(), "key_id": key_id.hex(), "salt": salt.hex(), "nonce": nonce.hex()}
    return {"name": name, **given, "place": place, "plaintext": plaintext.hex()} | sealed(
        dek, key_id, salt, nonce, place, plaintext
    )


def vectors() -> dict[str, Any]:
    good = [
        vector("an ordinary token", 1, b"ghp_example"),
        vector("nothing inside", 2, b""),
        vector("no owner, no integration, no hosts", 3, b"key", owner=None, integration=None, allowed_hosts=[]),
        vector("empty text is not absent text", 4, b"key", owner="", integration="", allowed_hosts=[""]),
        vector("text outside ASCII", 5, "påßwörd 🔑".encode(), owner="ålice", allowed_hosts=["bücher.example"]),
        vector("two kibibytes, none of them text", 6, bytes([0xFF]) * 2048, generation=2**40),
    ]
    blob = bytes.fromhex(good[0]["blob"])
    damage = {
        "another magic": b"VKSC" + blob[4:],
        "another format": blob[:4] + b"\x02" + blob[5:],
        "another algorithm": blob[:5] + b"\x02" + blob[6:],
        "another key id": blob[:6] + bytes(16) + blob[22:],
        "another salt": blob[:22] + bytes(32) + blob[54:],
        "another nonce": blob[:54] + bytes(12) + blob[66:],
        "another commitment": blob[:66] + bytes(32) + blob[98:],
        "no ciphertext": blob[:98],
        "one byte short": blob[:-1],
        "one byte long": blob + b"\x00",
        "nothing at all": b"",
    }
    bad = [{"name": name, "of": good[0]["name"], "blob": each.hex()} for name, each in damage.items()]
    return {"format": 1, "opens": good, "does_not_open": bad}


if __name__ == "__main__":
    print(json.dumps(vectors(), indent=1, ensure_ascii=False))
