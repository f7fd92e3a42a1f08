"""The encryption of web push against the example of RFC 8291 (appendix A), and who sends it (RFC 8292)."""

import json

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from tests.support.push_service import b64, decrypted, octets, point
from valetkey.server.approvals.notices.encrypted import PADDED_BYTES, encrypted
from valetkey.server.approvals.notices.model import Message
from valetkey.server.approvals.notices.push import shown, subscription_of
from valetkey.server.approvals.notices.vapid import Vapid
from valetkey.server.egress.url import parsed
from valetkey.server.errors import InvalidRequest
from valetkey.server.secret import SecretBytes
from valetkey.server.vault.mac import Mac

PLAINTEXT = b"When I grow up, I want to be a watermelon"
AUTH = octets("BTBZMqHH6r4Tts7J_aSIgg")
BROWSER = "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94"
SENDER = "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"
SALT = octets("DGv6ra1nlYgDCS1FRnbzlw")
BODY = (
    "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl"
    "7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
)


def key(text: str) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(octets(text), "big"), ec.SECP256R1())


def sent(plaintext: bytes = PLAINTEXT, *, padded: int = len(PLAINTEXT), auth: bytes = AUTH) -> bytes:
    return encrypted(plaintext, browser=point(key(BROWSER)), auth=auth, ours=key(SENDER), salt=SALT, padded=padded)


def test_the_example_of_the_specification() -> None:
    assert b64(sent()) == BODY
    assert decrypted(octets(BODY), key(BROWSER), AUTH) == PLAINTEXT


def test_another_secret_or_another_browser_reads_nothing() -> None:
    with pytest.raises(InvalidTag):
        decrypted(sent(auth=bytes(16)), key(BROWSER), AUTH)
    with pytest.raises(InvalidTag):
        decrypted(sent(), ec.generate_private_key(ec.SECP256R1()), AUTH)


def test_every_message_is_as_long_as_every_other() -> None:
    few = shown(Message(words="a", link="https://x/a", count=1, seconds=1))
    many = shown(Message(words="ä" * 5_000, link="https://x/a", count=7, seconds=1))
    bodies = [sent(text, padded=PADDED_BYTES) for text in (few, many)]
    assert len(bodies[0]) == len(bodies[1]) <= 4096
    assert json.loads(decrypted(bodies[1], key(BROWSER), AUTH))["body"] == "7 calls wait for you."


def test_who_sends_it_is_signed_for_this_push_service_alone() -> None:
    vapid = Vapid(Mac(SecretBytes(b"p" * 32)), contact="https://valetkey.example")
    header = vapid.header(parsed("https://push.example:8443/send/x?y=1"), now=1_000).decode()
    token, public = header.removeprefix("vapid t=").split(", k=")
    head, claims, signature = (octets(part) for part in token.split("."))
    assert json.loads(head)["alg"] == "ES256"
    assert json.loads(claims) == {"aud": "https://push.example:8443", "exp": 4_600, "sub": "https://valetkey.example"}
    r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
    verifying = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), octets(public))
    verifying.verify(encode_dss_signature(r, s), token.rpartition(".")[0].encode(), ec.ECDSA(SHA256()))
    assert public == vapid.public == Vapid(Mac(SecretBytes(b"p" * 32)), contact="").public
    assert public != Vapid(Mac(SecretBytes(b"q" * 32)), contact="").public


GOOD = {"endpoint": "https://push.example/x", "keys": {"p256dh": b64(point(key(BROWSER))), "auth": b64(AUTH)}}


@pytest.mark.parametrize(
    "changed",
    [
        {"endpoint": "https://push.example"},
        {"endpoint": "https://push.example/" + "x" * 1000},
        {"endpoint": "javascript:alert(1)"},
        {"endpoint": None},
        {"keys": {"p256dh": b64(b"\x04" + bytes(64)), "auth": b64(AUTH)}},  # no point of the curve
        {"keys": {"p256dh": b64(point(key(BROWSER))[1:]), "auth": b64(AUTH)}},
        {"keys": {"p256dh": GOOD["keys"]["p256dh"], "auth": b64(AUTH[1:])}},  # type: ignore[index]
        {"keys": {"p256dh": "ü", "auth": "!"}},
        {"keys": {}},
    ],
)
def test_what_no_browser_would_send_is_refused(changed: dict[str, object]) -> None:
    assert subscription_of(json.dumps(GOOD)).auth == AUTH
    with pytest.raises(InvalidRequest):
        subscription_of(json.dumps(GOOD | changed))
    with pytest.raises(InvalidRequest):
        subscription_of(json.dumps(GOOD)[:-1])
