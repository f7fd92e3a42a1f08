"""The practice GitHub asks its person, and its codes and tokens are as strict as the demo says they are."""

import base64
import hashlib
import json
import re
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from valetkey.cli.practice_oauth import Content, PracticeApp, PracticeConsent

APP = PracticeApp(client_id="Ov23li1", client_secret="s3cret", redirect_uri="http://localhost:1/connect/app_1/callback")
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
ASKED = {
    "client_id": APP.client_id,
    "redirect_uri": APP.redirect_uri,
    "scope": "repo read:user",
    "state": "st",
    "code_challenge": CHALLENGE,
    "code_challenge_method": "S256",
}


class Clock:
    time = 0.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def github(clock: Clock) -> PracticeConsent:
    consent = PracticeConsent(now=clock)
    consent.register(APP)
    return consent


def answered(github: PracticeConsent, press: str = "1", **asked: str) -> dict[str, str]:
    """What the person's answer brings back to the app."""
    status, _, page = github.page(urlencode(ASKED | asked), "alice")
    assert status == 200
    number = re.search(r'name="page" value="(\w+)"', page.text)
    assert number is not None
    status, headers, _ = github.decided(urlencode({"page": number[1], "authorize": press}).encode())
    assert status == 302
    back = urlsplit(dict(headers)["location"])
    assert f"{back.scheme}://{back.netloc}{back.path}" == APP.redirect_uri
    return {name: values[0] for name, values in parse_qs(back.query).items()}


def redeemed(github: PracticeConsent, code: str, accept: str = "application/json", **said: str) -> dict[str, str]:
    form = {"client_id": APP.client_id, "client_secret": APP.client_secret, "code": code, "code_verifier": VERIFIER}
    status, _, answer = github.redeemed(urlencode(form | said).encode(), accept)
    assert status == 200  # as GitHub: also when it refuses
    if isinstance(answer, Content):
        return {name: values[0] for name, values in parse_qs(answer.text).items()}
    return dict(answer)


def end(github: PracticeConsent, token: str, *, whole: bool = False, secret: str = APP.client_secret) -> int:
    basic = "Basic " + base64.b64encode(f"{APP.client_id}:{secret}".encode()).decode()
    return github.ended(APP.client_id, basic, json.dumps({"access_token": token}).encode(), whole_grant=whole)[0]


def test_a_code_is_a_token_once(github: PracticeConsent) -> None:
    back = answered(github)
    assert back["state"] == "st"
    given = redeemed(github, back["code"])
    assert (given["scope"], given["token_type"]) == ("repo,read:user", "bearer")
    assert github.tokens[given["access_token"]].login == "alice"
    assert redeemed(github, back["code"])["error"] == "bad_verification_code"


def test_it_answers_a_form_to_who_does_not_ask_for_json(github: PracticeConsent) -> None:
    given = redeemed(github, answered(github)["code"], accept="*/*")
    assert given["access_token"] in github.tokens


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"client_secret": "guessed"}, "incorrect_client_credentials"),
        ({"client_id": "Ov23li2"}, "incorrect_client_credentials"),
        ({"code_verifier": "w" * 43}, "bad_verification_code"),
        ({"redirect_uri": APP.redirect_uri + "/"}, "redirect_uri_mismatch"),
    ],
)
def test_a_code_is_for_one_app_verifier_and_address(github: PracticeConsent, changed, error) -> None:
    assert redeemed(github, answered(github)["code"], **changed)["error"] == error
    assert github.tokens == {}


def test_a_code_ends_after_ten_minutes(github: PracticeConsent, clock: Clock) -> None:
    code = answered(github)["code"]
    clock.time = 600
    assert redeemed(github, code)["error"] == "bad_verification_code"


def test_who_cancels_gives_no_code(github: PracticeConsent) -> None:
    back = answered(github, press="0")
    assert (back["error"], back["state"]) == ("access_denied", "st")
    assert "code" not in back


def test_an_app_it_does_not_know_and_another_address_are_not_asked_for(github: PracticeConsent) -> None:
    assert github.page(urlencode(ASKED | {"client_id": "Ov23li2"}), "alice")[0] == 404
    status, headers, _ = github.page(urlencode(ASKED | {"redirect_uri": "https://evil.example"}), "alice")
    assert status == 302
    assert dict(headers)["location"].startswith(f"{APP.redirect_uri}?error=redirect_uri_mismatch")


def test_one_token_ends_or_all_that_the_person_gave_the_app(github: PracticeConsent) -> None:
    one, two, three = [redeemed(github, answered(github)["code"])["access_token"] for _ in range(3)]
    assert end(github, one, secret="guessed") == 401
    assert len(github.tokens) == 3
    assert end(github, one) == 204
    assert end(github, one) == 404
    assert set(github.tokens) == {two, three}
    assert end(github, two, whole=True) == 204
    assert github.tokens == {}
