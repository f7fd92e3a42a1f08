"""One proof of possession, judged without clock or store: the specification's own, each part wrong, each spelling."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwk as joserfc_jwk
from joserfc import jwt as joserfc_jwt
from tools.dpop_vectors import build

from tests.rules.test_verifier import Clock, verifier
from tests.support.delegated import agent_claims, mint
from tests.support.holder import ABSENT, Holder, b64
from valetkey.client.proving import ProofKey
from valetkey.verify import Verifier, parse_jwks
from valetkey.verify.dpop import (
    ALGORITHMS,
    MAX_BYTES,
    Proof,
    check_age,
    normalized,
    token_hash,
    verify_proof,
)
from valetkey.verify.errors import InvalidKey, InvalidProof, InvalidToken, Reason
from valetkey.verify.keys import parse_embedded_jwk

NOW = 1_800_000_000.0
URL = "https://resource.example.org/protectedresource"

# RFC 9449 section 4.2 (token request) and section 7.1 (protected resource).
AT_TOKEN_ENDPOINT = (
    "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRj"
    "QyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGki"
    "OiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYy"
    "NjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg"
)
AT_RESOURCE = (
    "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRj"
    "QyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGki"
    "OiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJjZSIs"
    "ImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP86L-E"
    "y71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA"
)
ITS_TOKEN = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"
ITS_THUMBPRINT = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"


def test_the_specifications_proofs_are_proofs() -> None:
    """RFC 9449 sections 4.2, 6.1 and 7.1"""
    first = verify_proof(AT_TOKEN_ENDPOINT, method="POST", url="https://server.example.com/token")
    assert first == Proof(jkt=ITS_THUMBPRINT, jti="-BwC3ESc6acc2lTc", made_at=1562262616)
    second = verify_proof(AT_RESOURCE, method="GET", url=URL, token=ITS_TOKEN)
    assert (second.jkt, second.jti) == (ITS_THUMBPRINT, "e1j3V_bKic8-LAEB")
    assert token_hash(ITS_TOKEN) == "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"
    for changed in ({"method": "POST"}, {"url": URL + "/"}, {"token": ITS_TOKEN + "x"}):
        with pytest.raises(InvalidProof):
            verify_proof(AT_RESOURCE, **({"method": "GET", "url": URL, "token": ITS_TOKEN} | changed))


def test_the_specifications_thumbprints() -> None:
    """RFC 7638 section 3.1, RFC 8037 appendix A.3"""
    rsa = {
        "kty": "RSA", "e": "AQAB",
        "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWK"
             "RXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMic"
             "AtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3"
             "XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
    }  # fmt: skip
    assert parse_embedded_jwk(rsa, "RS256").thumbprint() == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
    okp = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    assert parse_embedded_jwk(okp, "Ed25519").thumbprint() == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_each_algorithm_proves_its_key_and_no_other(alg: str) -> None:
    holder = Holder(alg)
    assert verify_proof(holder.proof("GET", URL, now=NOW), method="GET", url=URL).jkt == holder.jkt
    for other in set(ALGORITHMS) - {alg}:
        with pytest.raises(InvalidProof):
            verify_proof(holder.proof("GET", URL, now=NOW, header={"alg": other}), method="GET", url=URL)


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_a_proof_made_by_another_library_passes_until_one_fact_changes(alg: str) -> None:
    """joserfc makes the proof."""
    key: Any = {
        "ES256": lambda: joserfc_jwk.ECKey.generate_key("P-256"),
        "Ed25519": lambda: joserfc_jwk.OKPKey.generate_key("Ed25519"),
        "RS256": lambda: joserfc_jwk.RSAKey.generate_key(2048),
    }[alg]()
    header = {"typ": "dpop+jwt", "alg": alg, "jwk": key.as_dict(private=False)}
    header["jwk"].pop("kid", None)
    claims = {"jti": "one", "htm": "GET", "htu": URL, "iat": int(NOW), "ath": token_hash("token")}
    made = joserfc_jwt.encode(header, claims, key, algorithms=[alg])
    assert verify_proof(made, method="GET", url=URL, token="token").jkt == key.thumbprint()
    for changed in ({"htm": "PUT"}, {"htu": URL + "x"}, {"ath": token_hash("other")}):
        wrong = joserfc_jwt.encode(header, claims | changed, key, algorithms=[alg])
        with pytest.raises(InvalidProof):
            verify_proof(wrong, method="GET", url=URL, token="token")


def test_our_clients_proofs_are_read_by_another_library() -> None:
    """joserfc reads them."""
    key = ProofKey()
    key.learn(URL, "n")
    made = key.proof("GET", URL + "?q=1#f", token="token")
    header = json.loads(base64.urlsafe_b64decode(made.split(".")[0] + "=="))
    read = joserfc_jwt.decode(made, joserfc_jwk.ECKey.import_key(header["jwk"]), algorithms=["ES256"])
    assert (read.claims["htu"], read.claims["nonce"], read.claims["ath"]) == (URL, "n", token_hash("token"))
    assert verify_proof(made, method="GET", url=URL, token="token").jkt == key.jkt


PRIVATE = [{"d": "AQ"}, {"p": "AQ"}, {"k": "AQ"}, {"oth": []}, {"priv": "AQ"}]


@pytest.mark.parametrize(
    "jwk",
    [
        None, [], "x", {}, {"kty": "oct", "k": "AQ"},
        {"x": ABSENT}, {"y": ABSENT}, {"crv": "P-384"}, {"crv": ABSENT}, {"kty": "RSA"}, {"x": b64(bytes(32))},
        {"x": b64(bytes(31))}, {"alg": "RS256"}, {"use": "enc"}, {"key_ops": ["sign"]}, *PRIVATE,
    ],
)  # fmt: skip
def test_a_key_that_is_not_exactly_a_public_one_for_the_algorithm_is_refused(jwk: Any) -> None:
    holder = Holder()
    changed = {k: v for k, v in (holder.jwk | jwk).items() if v is not ABSENT} if isinstance(jwk, dict) and jwk else jwk
    with pytest.raises(InvalidProof, match="not valid here") as refused:
        verify_proof(holder.proof("GET", URL, now=NOW, header={"jwk": changed}), method="GET", url=URL)
    assert refused.value.reason is Reason.PROOF
    with pytest.raises(InvalidKey):
        parse_embedded_jwk(changed, "ES256")


def test_what_a_key_may_say_besides_itself() -> None:
    holder = Holder()
    more = {"kid": "named", "alg": "ES256", "use": "sig", "key_ops": ["verify"], "ext": True}
    proof = holder.proof("GET", URL, now=NOW, header={"jwk": holder.jwk | more})
    assert verify_proof(proof, method="GET", url=URL).jkt == holder.jkt


@pytest.mark.parametrize(
    "proof",
    ["", ".", "..", "a.b.c", "é.b.c", "a.b.c.d", "x" * (MAX_BYTES + 1), AT_RESOURCE + "=", AT_RESOURCE[:-1],
     " " + AT_RESOURCE, AT_RESOURCE.replace(".", "..", 1), AT_RESOURCE.split(".", 1)[1]],
    ids=range(12),
)  # fmt: skip
def test_what_is_no_proof_is_refused(proof: str) -> None:
    with pytest.raises(InvalidProof):
        verify_proof(proof, method="GET", url=URL, token=ITS_TOKEN)


def test_the_largest_proof() -> None:
    holder = Holder()
    size = len(holder.proof("GET", URL, now=NOW, pad=""))
    for extra, is_good in ((MAX_BYTES - size - 8, True), (MAX_BYTES - size + 8, False)):
        proof = holder.proof("GET", URL, now=NOW, pad="x" * (extra * 3 // 4))
        assert (len(proof) <= MAX_BYTES) is is_good
        if is_good:
            assert verify_proof(proof, method="GET", url=URL).jkt == holder.jkt
        else:
            with pytest.raises(InvalidProof):
                verify_proof(proof, method="GET", url=URL)


def test_a_member_that_appears_twice_is_refused() -> None:
    holder = Holder()
    head = b64(json.dumps({"typ": "dpop+jwt", "alg": "ES256", "jwk": holder.jwk}).encode())
    claims = f'{{"jti":"a","htm":"GET","htu":"{URL}","iat":1,"iat":1800000000}}'
    signing_input = f"{head}.{b64(claims.encode())}"
    with pytest.raises(InvalidProof):
        verify_proof(f"{signing_input}.{b64(holder.signs(signing_input.encode()))}", method="GET", url=URL)


@pytest.mark.parametrize(
    ("ahead", "with_nonce", "is_good"),
    [
        (0, False, True), (-60, False, True), (-61, False, False), (10, False, True), (11, False, False),
        (-300, True, True), (-301, True, False), (300, True, True), (301, True, False), (-3600, True, False),
    ],
)  # fmt: skip
def test_how_far_the_time_may_be_off(ahead: float, with_nonce: bool, is_good: bool) -> None:
    """DP-4"""
    proof = Proof(jkt="k", jti="j", made_at=NOW + ahead, nonce="n" if with_nonce else None)
    if is_good:
        check_age(proof, now=NOW, nonce_is_fresh=with_nonce)
        assert proof.acceptable_until >= NOW
    else:
        with pytest.raises(InvalidProof):
            check_age(proof, now=NOW, nonce_is_fresh=with_nonce)


def test_a_proof_that_ends_or_begins_by_its_own_word_is_held_to_it() -> None:
    for changes, is_good in (
        ({"ends_at": NOW - 10}, False), ({"ends_at": NOW - 9}, True),
        ({"begins_at": NOW + 11}, False), ({"begins_at": NOW + 10}, True),
    ):  # fmt: skip
        proof = Proof(jkt="k", jti="j", made_at=NOW, **changes)
        if is_good:
            check_age(proof, now=NOW)
        else:
            with pytest.raises(InvalidProof):
                check_age(proof, now=NOW)


@given(st.floats(-1000, 1000), st.floats(-1000, 1000), st.booleans())
def test_what_is_forgotten_is_never_accepted_again(made: float, later: float, with_nonce: bool) -> None:
    """DP-5: once `acceptable_until` is over, no clock reading makes the proof good."""
    proof = Proof(jkt="k", jti="j", made_at=NOW + made, nonce="n" if with_nonce else None)
    now = proof.acceptable_until + abs(later) + 0.001
    with pytest.raises(InvalidProof):
        check_age(proof, now=now, nonce_is_fresh=with_nonce)


SAME = "https://api.example.com/a%2Fb~"


@pytest.mark.parametrize(
    ("url", "spelled"),
    [
        ("HTTPS://API.Example.com:443/a%2fb%7E?q=1#x", SAME),
        ("https://api.example.com:/a%2Fb~", SAME),
        ("http://api.example.com:80", "http://api.example.com/"),
        ("http://api.example.com:443/", "http://api.example.com:443/"),
        ("https://[::1]:8443/x", "https://[::1]:8443/x"),
        ("https://api.example.com/A//b/../c/", "https://api.example.com/A//b/../c/"),
    ],
)
def test_spellings_of_one_address(url: str, spelled: str) -> None:
    """DP-3; RFC 3986 section 6.2"""
    assert normalized(url) == spelled
    assert normalized(spelled) == spelled


@pytest.mark.parametrize(
    "url",
    ["", "/path", "api.example.com/x", "ftp://a/x", "https://", "https:///x", "https://a:b/x", "https://a:99999/x",
     "https://user@a/x", "https://user:p@a/x", "https://a/x y", "https://a/\n", "https://a/\tx", "https://é/x",
     "https://[::1/x", "javascript:alert(1)"],
)  # fmt: skip
def test_what_is_no_address(url: str) -> None:
    assert normalized(url) is None


@given(st.text(max_size=40))
def test_a_proof_for_another_address_never_passes(path: str) -> None:
    """DP-3: whatever is written as htu, it passes only as a spelling of the door's own address."""
    if normalized(path) != URL:
        with pytest.raises(InvalidProof):
            verify_proof(HOLDER.proof("GET", path, now=NOW), method="GET", url=URL)


HOLDER = Holder()


def test_the_kit_takes_a_bound_token_with_its_proof_once() -> None:
    """DP-5, DP-6, DP-7 at a resource server of the user's own."""
    holder, thief = Holder(), Holder()
    clock = Clock()
    bound, free = mint(agent_claims(cnf={"jkt": holder.jkt})), mint(agent_claims())
    door = verifier(clock)

    def proof(by: Holder, token: str, **changes: Any) -> str:
        return by.proof("GET", URL, now=clock.now(), token=token, **changes)

    good = proof(holder, bound)
    assert door.verify(bound, dpop=good, method="GET", url=URL).cnf == holder.jkt
    for dpop in (good, None, proof(thief, bound), proof(holder, free), proof(holder, bound, iat=int(clock.now()) - 61)):
        with pytest.raises(InvalidToken):
            door.verify(bound, dpop=dpop, method="GET" if dpop else "", url=URL if dpop else "")
    with pytest.raises(InvalidToken) as refused:
        door.verify(free, dpop=proof(holder, free), method="GET", url=URL)
    assert refused.value.reason is Reason.BINDING
    assert door.verify(free).cnf is None
    with pytest.raises(ValueError, match="for a method and a url"):
        door.verify(bound, dpop=good)


def test_several_processes_can_share_what_was_used() -> None:
    holder, clock = Holder(), Clock()
    bound = mint(agent_claims(cnf={"jkt": holder.jkt}))
    used: set[tuple[str, str]] = set()

    def first_use(jkt: str, jti: str, until: float) -> bool:
        assert until >= clock.now()
        is_first = (jkt, jti) not in used
        used.add((jkt, jti))
        return is_first

    doors = [verifier(clock, first_use=first_use) for _ in range(2)]
    proof = holder.proof("GET", URL, now=clock.now(), token=bound)
    assert doors[0].verify(bound, dpop=proof, method="GET", url=URL).cnf == holder.jkt
    with pytest.raises(InvalidProof):
        doors[1].verify(bound, dpop=proof, method="GET", url=URL)


VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "dpop.json").read_text())
ISSUED = json.loads((Path(__file__).parents[1] / "vectors" / "delegation_jwt.json").read_text())


def kit() -> Verifier:
    clock = Clock()
    clock.at = float(VECTORS["now"])
    keys = parse_jwks(ISSUED["jwks"])
    return Verifier(ISSUED["issuer"], ISSUED["audience"], keys=keys, layout="agent", leeway=0, clock=clock)


@pytest.mark.parametrize("vector", VECTORS["accepted"], ids=lambda vector: str(vector["name"]))
def test_an_accepted_vector_is_accepted_once(vector: dict[str, Any]) -> None:
    door, asked = kit(), {"dpop": vector["proof"], "method": VECTORS["method"], "url": VECTORS["url"]}
    assert door.verify(vector["token"], **asked).cnf == vector["jkt"]
    with pytest.raises(InvalidProof):
        door.verify(vector["token"], **asked)


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda vector: str(vector["name"]))
def test_a_refused_vector_is_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(InvalidToken):
        kit().verify(vector["token"], dpop=vector["proof"], method=VECTORS["method"], url=VECTORS["url"])


def test_the_vectors_are_fresh() -> None:
    assert build() == VECTORS
