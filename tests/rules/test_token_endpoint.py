"""What is said to an API's token endpoint, and how its answers are read."""

import json
from dataclasses import replace

import pytest

from valetkey.server.integrations.authorization import OAuth
from valetkey.server.integrations.token_endpoint import Granted, Refused, UnreadableAnswer, read_answer, token_request
from valetkey.server.secret import Secret

PLAIN = OAuth(authorize_url="https://a.example/authorize", token_url="https://a.example/token")
SLACK = OAuth(
    authorize_url="https://a.example/authorize",
    token_url="https://a.example/token",
    token_at="authed_user",
    success="ok",
    granted_at="authed_user.scope",
    account_id_at="authed_user.id",
    workspace_at="team.name",
)


def answered(body: object, status: int = 200, oauth: OAuth = PLAIN) -> Granted | Refused:
    return read_answer(oauth, status, body if isinstance(body, bytes) else json.dumps(body).encode())


def test_a_plain_answer_is_read_in_full() -> None:
    granted = answered(
        {"access_token": "a", "token_type": "Bearer", "refresh_token": "r", "expires_in": 3600, "scope": "x y"}
    )
    assert isinstance(granted, Granted)
    assert (granted.access.reveal(), granted.refresh and granted.refresh.reveal()) == ("a", "r")
    assert (granted.scopes, granted.lasts_seconds) == (("x", "y"), 3600)


def test_an_answer_that_does_not_say_its_scopes_says_none_at_all() -> None:
    granted = answered({"access_token": "a"})
    assert isinstance(granted, Granted)
    assert granted.scopes is None
    assert granted.refresh is None


@pytest.mark.parametrize("said", [0, -1, True, "soon", None, [5]])
def test_rt_06_a_lifetime_that_is_none_says_nothing(said: object) -> None:
    granted = answered({"access_token": "a", "expires_in": said})
    assert isinstance(granted, Granted)
    assert granted.lasts_seconds is None


def test_a_form_is_read_like_the_same_json() -> None:
    granted = answered(b"access_token=a&scope=repo%2Cuser&token_type=bearer")
    assert isinstance(granted, Granted)
    assert granted.scopes == ("repo", "user")


def test_a_nested_credential_is_the_users() -> None:
    body = {
        "ok": True,
        "access_token": "bot",
        "team": {"name": "Acme"},
        "authed_user": {"id": "U1", "access_token": "user", "scope": "chat:write,search:read"},
    }
    granted = answered(body, oauth=SLACK)
    assert isinstance(granted, Granted)
    assert (granted.access.reveal(), granted.account_id, granted.workspace) == ("user", "U1", "Acme")
    assert granted.scopes == ("chat:write", "search:read")


@pytest.mark.parametrize("body", [{"ok": False, "error": "invalid_code"}, {"error": "access_denied"}])
def test_a_refusal_with_status_200_is_a_refusal(body: dict[str, object]) -> None:
    refused = answered(body, oauth=SLACK if "ok" in body else PLAIN)
    assert isinstance(refused, Refused)
    assert not refused.is_final


def test_invalid_grant_is_final_and_other_errors_are_not() -> None:
    assert answered({"error": "invalid_grant"}, 400) == Refused(error="invalid_grant", is_final=True)
    assert answered({"error": "invalid_client"}, 401) == Refused(error="invalid_client", is_final=False)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, {"access_token": "a"}),
        (503, {"error": "invalid_grant"}),
        (429, {"error": "invalid_grant"}),
        (400, {"message": "no"}),
        (302, {"access_token": "a"}),
        (200, {}),
        (200, []),
        (200, {"access_token": ""}),
        (200, {"access_token": "a\r\nx: y"}),
        (200, {"access_token": "a b"}),
        (200, {"access_token": 7.5}),
        (200, {"access_token": "a", "refresh_token": "r\n"}),
        (200, {"access_token": "a", "token_type": "mac"}),
        (200, b"<html>"),
        (200, b'{"access_token":"a","access_token":"b"}'),
        (200, b"access_token=a&access_token=b"),
        (200, b""),
    ],
)
def test_an_answer_that_means_nothing_decides_nothing(status: int, body: object) -> None:
    with pytest.raises(UnreadableAnswer):
        answered(body, status)


def test_a_slack_answer_without_ok_is_no_success() -> None:
    with pytest.raises(UnreadableAnswer):
        answered({"authed_user": {"access_token": "user"}}, oauth=SLACK)


@pytest.mark.parametrize(("how", "in_header", "in_body"), [("basic", True, False), ("post", False, True)])
def test_the_app_proves_itself_in_one_place_only(how: str, in_header: bool, in_body: bool) -> None:
    oauth = OAuth(authorize_url="", token_url="https://a.example/token", client_authentication=how)  # type: ignore[arg-type]
    request = token_request(oauth, {"grant_type": "x"}, client_id="id", client_secret=Secret("s3cret"))
    assert any(name == b"authorization" for name, _ in request.headers) is in_header
    assert ("s3cret" in request.body.reveal()) is in_body
    assert "s3cret" not in repr(request)


ROTATED = replace(SLACK, token_type="user")


def test_a_refreshed_user_credential_is_read_at_the_top_and_a_bots_is_not_taken_for_it() -> None:
    body = {"ok": True, "access_token": "xoxe.xoxp-1", "refresh_token": "r2", "token_type": "user", "expires_in": 43200}
    granted = answered(body, oauth=ROTATED)
    assert isinstance(granted, Granted)
    assert granted.access.reveal() == "xoxe.xoxp-1"
    for other in ({**body, "token_type": "bot"}, {**body, "authed_user": {"id": "U1"}}):
        with pytest.raises(UnreadableAnswer):
            answered(other, oauth=ROTATED)
    with pytest.raises(UnreadableAnswer):
        answered(body, oauth=SLACK)


def test_a_refresh_token_goes_where_the_api_takes_refresh_tokens_and_a_code_does_not() -> None:
    figma = replace(PLAIN, refresh_url="https://a.example/refresh")
    sent = {
        grant: token_request(figma, {"grant_type": grant}, client_id="c", client_secret=None).url
        for grant in ("refresh_token", "authorization_code")
    }
    assert sent == {"refresh_token": "https://a.example/refresh", "authorization_code": "https://a.example/token"}


def test_where_the_app_decides_no_scope_says_what_a_credential_can_do() -> None:
    assert replace(PLAIN, app_decides=True).powers(()) == {"*"}
    assert PLAIN.powers(("anything",)) == frozenset()


def test_an_empty_scope_is_nothing() -> None:
    granted = answered({"access_token": "a", "scope": ""})
    assert isinstance(granted, Granted)
    assert granted.scopes == ()


def test_the_length_of_a_body_is_counted_in_bytes() -> None:
    oauth = OAuth(authorize_url="", token_url="https://a.example/token", body="json")
    request = token_request(oauth, {"code": "a\u00e9b"}, client_id="id", client_secret=None)
    assert dict(request.headers)[b"content-length"] == str(len(request.body.reveal().encode())).encode()
