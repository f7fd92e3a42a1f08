"""Project Wycheproof's JOSE vectors, for the algorithms we verify (JW-10).

The folder is named by VALETKEY_WYCHEPROOF, or lies beside the repository as shared/vectors/wycheproof; where there is
neither, these tests are skipped and say so. Our tokens carry a `typ`, theirs mostly do not, so their signatures are
verified one level lower, where the members a header must have are an argument.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from valetkey.verify import InvalidKey, InvalidToken, PublicKey, jws, parse_jwk, parse_jwks

BESIDE = Path(__file__).resolve().parents[2].parent / "shared" / "vectors" / "wycheproof"
FOLDER = Path(os.environ.get("VALETKEY_WYCHEPROOF", BESIDE))
pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="no Wycheproof vectors: set VALETKEY_WYCHEPROOF to the folder that holds them"
)
OURS = {"ES256", "Ed25519", "RS256"}
NO_TYP = frozenset({"alg", "kid"})


def groups(name: str) -> list[dict[str, Any]]:
    path = FOLDER / name
    return json.loads(path.read_text())["testGroups"] if path.is_file() else []


def cases(name: str) -> list[Any]:
    return [
        pytest.param(group, test, id=f"{group['comment']}-{test['tcId']}-{test['comment'][:40]}")
        for group in groups(name)
        for test in group["tests"]
        if "jws" in test
    ]


def keys_of(group: dict[str, Any]) -> dict[str, PublicKey]:
    """Return the group's keys as our own reader takes them; a group without public keys has only symmetric ones."""
    public = group.get("public", group["private"])
    return parse_jwks(public if "keys" in public else {"keys": [public]})


def is_accepted(group: dict[str, Any], test: dict[str, Any]) -> bool:
    try:
        jws.verified_payload(test["jws"], keys=keys_of(group), typ=None, members=NO_TYP)
    except (InvalidToken, InvalidKey):
        return False
    return True


FILES = ["json_web_signature_test.json", "json_web_key_test.json", "json_web_crypto_test.json"]


@pytest.mark.parametrize(("group", "test"), [case for name in FILES for case in cases(name)])
def test_jw_10_wycheproof_decides_as_we_do(group: dict[str, Any], test: dict[str, Any]) -> None:
    """Everything invalid is refused; everything valid is accepted when its key is for an algorithm of ours."""
    public = group.get("public", group["private"])
    ours = any(jwk.get("alg") in OURS for jwk in public.get("keys", [public]))
    assert is_accepted(group, test) is (test["result"] == "valid" and ours)


def test_jw_10_wycheproof_reached_our_algorithms() -> None:
    accepted = [(group, test) for name in FILES for group in groups(name) for test in group["tests"] if "jws" in test]
    assert sum(is_accepted(group, test) for group, test in accepted) == 13
    assert len(accepted) == 476


@pytest.mark.parametrize(
    "comment", ["jws_rsa_roca_key", "keysize_too_small", "exponentOne", "invalid_point", "wrong_curve"]
)
def test_jw_09_wycheproof_a_key_that_is_broken_is_refused_as_a_key(comment: str) -> None:
    (group,) = [group for group in groups("json_web_key_test.json") if group["comment"] == comment]
    with pytest.raises(InvalidKey):
        parse_jwk(group["public"]["keys"][0])


@pytest.mark.parametrize("comment", ["jws_mixedSymmetryKeyset", "jws_duplicate_kid", "HS256"])
def test_jw_09_wycheproof_a_set_with_a_secret_in_it_is_refused_whole(comment: str) -> None:
    for group in groups("json_web_key_test.json"):
        if group["comment"] == comment:
            with pytest.raises(InvalidKey):
                parse_jwks(group["private"])
