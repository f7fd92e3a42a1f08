"""The rules of signing in that need no server: one-time codes, waiting, names, and who may be enrolled."""

from typing import Any

import pytest

from valetkey.server.errors import Denied, InvalidRequest
from valetkey.server.principals.login.model import (
    Patience,
    checked_password,
    matching_step,
    one_time_code,
    shown_name,
)
from valetkey.server.principals.login.providers.model import Provider, proofs
from valetkey.server.principals.model import Role
from valetkey.server.secret import SecretBytes

SECRET = SecretBytes(b"12345678901234567890")


@pytest.mark.parametrize(
    ("at", "code"),
    [
        (59, "287082"),
        (1111111109, "081804"),
        (1111111111, "050471"),
        (1234567890, "005924"),
        (2000000000, "279037"),
        (20000000000, "353130"),
    ],
)
def test_the_vectors_of_rfc_6238(at: int, code: str) -> None:
    assert one_time_code(SECRET, at // 30) == code
    assert matching_step(SECRET, code, now=at, after=0) == at // 30
    assert matching_step(SECRET, code, now=at, after=at // 30) is None
    assert matching_step(SECRET, code, now=at + 30, after=0) == at // 30
    assert matching_step(SECRET, code, now=at + 60, after=0) is None


@pytest.mark.parametrize("code", ["", "28708", "2870822", "28708a", "２８７０８２", "+87082"])
def test_what_is_not_six_digits_matches_no_step(code: str) -> None:
    assert matching_step(SECRET, code, now=59, after=0) is None


def test_waiting_doubles_and_has_an_end() -> None:
    patience = Patience(free=3, longest_seconds=10)
    assert [patience.wait(n) for n in range(9)] == [0, 0, 0, 0, 1, 2, 4, 8, 10]
    assert patience.wait(10**9) == 10


def test_names_lose_what_reorders_or_hides() -> None:
    assert shown_name("a\u202eb\u200bc\u0000d", "x") == "abcd"
    assert shown_name("cafe\u0301", "x") == "café"
    assert shown_name("\u2066\u2069", "x") == "x"
    assert len(shown_name("y" * 500, "x")) == 64


def test_a_password_is_counted_after_it_was_brought_into_one_spelling() -> None:
    assert checked_password("ﬁ" * 6).reveal() == "fi" * 6
    with pytest.raises(InvalidRequest):
        checked_password("e\u0301" * 11)


def _provider(**more: Any) -> Provider:
    facts: dict[str, Any] = {
        "id": "idp_1", "org": "org_1", "name": "x", "issuer": "https://i", "client_id": "c", "origin": "https://i",
        "roles": {"admins": Role.ADMINISTRATOR}, "group_claim": "groups", "enrolls": True, "domains": ("acme.com",),
    }  # fmt: skip
    return Provider(**(facts | more))


@pytest.mark.parametrize(
    ("groups", "role"),
    [
        (["admins"], Role.ADMINISTRATOR),
        ("admins", Role.ADMINISTRATOR),
        (["Admins"], Role.MEMBER),
        ([["admins"]], Role.MEMBER),
        ({"admins": 1}, Role.MEMBER),
        (None, Role.MEMBER),
        (7, Role.MEMBER),
    ],
)
def test_only_a_mapped_group_makes_an_administrator(groups: object, role: Role) -> None:
    assert _provider().role_of({"groups": groups}) is role
    assert _provider(group_claim="").role_of({"groups": groups}) is None
    assert _provider(roles={}).role_of({"groups": groups}) is None


def test_a_provider_that_enrols_nobody_enrols_nobody() -> None:
    claims: dict[str, object] = {"email": "carol@acme.com", "email_verified": True}
    assert _provider().enrolled_email(claims) == "carol@acme.com"
    for provider in (_provider(enrolls=False), _provider(domains=()), _provider(domains=("acme.org",))):
        with pytest.raises(Denied):
            provider.enrolled_email(claims)


def test_proofs_are_words_of_rfc_8176_and_few() -> None:
    assert proofs({"amr": ["pwd", "OTP", 1, "x" * 30, "mfa"]}) == (("pwd", "mfa"), None)
    assert proofs({"amr": "pwd", "acr": "phr"}) == ((), "urn:valetkey:acr:passkey")
    assert len(proofs({"amr": ["aa"] * 99})[0]) == 8
    assert proofs({}) == ((), None)
