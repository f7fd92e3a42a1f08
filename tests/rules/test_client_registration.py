"""What a client may say of itself, and what is not believed. DC-2, UI-03."""

from typing import Any

import pytest

from tests.support.tokens import OwnKey
from valetkey.server.errors import InvalidRequest
from valetkey.server.oauth.clients.described import KEY_METHODS, SECRET_METHODS, metadata_of

SAID: dict[str, Any] = {"redirect_uris": ["https://app.example.com/back"]}


def read(**changed: Any) -> Any:
    return metadata_of(SAID | changed, methods=SECRET_METHODS | KEY_METHODS, usual_method="client_secret_basic")


def test_what_is_not_said_is_the_usual() -> None:
    metadata = read()
    assert metadata.auth_method == "client_secret_basic"
    assert metadata.grant_types == ("authorization_code",)
    assert (metadata.application_type, metadata.name, metadata.jwks) == ("web", "", "")


def test_members_nobody_acts_on_are_passed_over() -> None:
    more = {"logo_uri": "javascript:alert(1)", "tos_uri": 7, "contacts": None, "x": {"y": []}}
    assert read(**more) == read()


NAMES = ["a\nb", "a\tb", "a\x00b", "a\u202eb", "a\u200bb", "\ufeffa", " a", "a ", "x" * 81, "a\u2028b", "a\x7fb"]


@pytest.mark.parametrize("name", NAMES)
def test_ui_03_a_name_is_one_short_printable_line(name: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read(client_name=name)
    assert refused.value.members["reason"] == "client_metadata"
    assert refused.value.public.isprintable()


def test_ui_03_a_name_in_markup_is_kept_as_text_for_pages_that_escape() -> None:
    assert read(client_name="<script>alert(1)</script>").name == "<script>alert(1)</script>"


@pytest.mark.parametrize(
    "changed",
    [
        {"redirect_uris": [7]},
        {"redirect_uris": {"a": 1}},
        {"grant_types": "authorization_code"},
        {"grant_types": []},
        {"response_types": ["code", "id_token"]},
        {"token_endpoint_auth_method": ["none"]},
        {"application_type": None},
        {"dpop_bound_access_tokens": "true"},
        {"require_pushed_authorization_requests": 1},
        {"client_uri": "http://app.example.com"},
        {"client_uri": "javascript:alert(1)"},
        {"jwks": "{}"},
        {"jwks": {"keys": [{"kty": "oct", "k": "AAAA"}]}},
        {"jwks": {"keys": [{**OwnKey().jwks["keys"][0], "d": "AAAA"}]}},
        {"token_endpoint_auth_method": "private_key_jwt"},
    ],
)
def test_what_is_not_of_its_type_is_refused_not_repaired(changed: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        read(**changed)


def test_the_digest_changes_with_what_consent_relies_on_and_with_nothing_else() -> None:
    base = read(client_name="A").digest
    assert read(client_name="A", logo_uri="https://x.example/y").digest == base
    for changed in (
        {"client_name": "B"},
        {"redirect_uris": ["https://app.example.com/other"]},
        {"token_endpoint_auth_method": "none"},
        {"jwks": OwnKey().jwks},
        {"jwks_uri": "https://app.example.com/k"},
        {"client_uri": "https://app.example.com"},
    ):
        assert read(**{"client_name": "A", **changed}).digest != base, changed
