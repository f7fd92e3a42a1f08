"""What an API's device authorization endpoint is asked, and what of its answer is believed."""

import json
from typing import Any
from urllib.parse import parse_qs

import pytest

from valetkey.server.integrations.authorization import OAuth
from valetkey.server.integrations.device_endpoint import DeviceCode, device_request, is_page_of, read_device_answer
from valetkey.server.integrations.token_endpoint import Refused, UnreadableAnswer
from valetkey.server.secret import Secret

WAY = OAuth(
    authorize_url="https://id.acme.example/authorize",
    token_url="https://id.acme.example/token",
    device_url="https://id.acme.example/device/code",
)
ANSWER: dict[str, Any] = {
    "device_code": "dc-1",
    "user_code": "WDJB-MJHT",
    "verification_uri": "https://acme.example/device",
    "expires_in": 900,
    "interval": 7,
}


def read(**changed: Any) -> DeviceCode | Refused:
    said = {name: value for name, value in (ANSWER | changed).items() if value is not None}
    return read_device_answer(WAY, 200, json.dumps(said).encode())


def test_the_codes_the_page_and_the_seconds_are_read() -> None:
    found = read()
    assert isinstance(found, DeviceCode)
    assert (found.code.reveal(), found.user_code, found.page) == ("dc-1", "WDJB-MJHT", "https://acme.example/device")
    assert (found.lasts_seconds, found.wait_seconds) == (900, 7)


@pytest.mark.parametrize("said", [None, 0])
def test_five_seconds_lie_between_questions_where_nothing_else_is_said(said: int | None) -> None:
    found = read(interval=said)
    assert isinstance(found, DeviceCode)
    assert found.wait_seconds == 5


@pytest.mark.parametrize(
    "changed",
    [
        {"device_code": None},
        {"device_code": "two words"},
        {"user_code": None},
        {"user_code": "x" * 65},
        {"user_code": "AB\nCD"},
        {"verification_uri": None},
        {"expires_in": None},
        {"expires_in": 0},
        {"expires_in": True},
        {"interval": -1},
        {"interval": 2.5},
        {"interval": "soon"},
    ],
)
def test_an_answer_that_lacks_anything_says_nothing(changed: dict[str, Any]) -> None:
    with pytest.raises(UnreadableAnswer):
        read(**changed)


@pytest.mark.parametrize(
    ("page", "shown"),
    [
        ("https://acme.example/device", True),
        ("https://acme.example/device?lang=en", True),
        ("https://acme.example:8443/device", True),
        ("http://acme.example/device", False),
        ("http://id.acme.example/device", False),
        ("javascript:alert(1)", False),
        ("data:text/html,x", False),
        ("//acme.example/device", False),
        ("https:///device", False),
        ("https://acme.example@evil.example/device", False),
        ("https://acme.example\\@evil.example/", False),
        ("https://acme.example:0/", False),
        ("https://acme.example:99999/", False),
        ("https://acme.example/de vice", False),
        ('https://acme.example/"onclick=', False),
        ("https://acme.example/<b>", False),
        ("https://\u0430cme.example/device", False),  # a Cyrillic letter
        ("https://acme.example/" + "x" * 2_000, False),
    ],
)
def test_a_page_nobody_may_be_led_to_is_not_shown(page: str, shown: bool) -> None:
    assert is_page_of(WAY, page) is shown
    if shown:
        assert isinstance(read(verification_uri=page), DeviceCode)
    else:
        with pytest.raises(UnreadableAnswer):
            read(verification_uri=page)


def test_a_refusal_is_a_refusal_with_any_status_and_a_failure_is_nothing() -> None:
    """GitHub says 200 to what it refuses."""
    body = b'{"error": "device_flow_disabled"}'
    assert read_device_answer(WAY, 200, body) == read_device_answer(WAY, 400, body)
    assert read_device_answer(WAY, 400, body) == Refused(error="device_flow_disabled", is_final=True)
    for status in (429, 500, 503):
        with pytest.raises(UnreadableAnswer):
            read_device_answer(WAY, status, json.dumps(ANSWER).encode())
    with pytest.raises(UnreadableAnswer):
        read_device_answer(WAY, 302, json.dumps(ANSWER).encode())


def test_a_member_twice_is_no_answer() -> None:
    with pytest.raises(UnreadableAnswer):
        read_device_answer(WAY, 200, json.dumps(ANSWER).encode()[:-1] + b', "user_code": "XXXX"}')


def test_the_app_and_what_is_asked_are_said_and_nothing_else() -> None:
    request = device_request(WAY, ("repo", "read:org"), client_id="app", client_secret=Secret("s3cret"))
    assert request.url == "https://id.acme.example/device/code"
    assert parse_qs(request.body.reveal()) == {
        "client_id": ["app"],
        "client_secret": ["s3cret"],
        "scope": ["repo read:org"],
    }
    assert "scope" not in parse_qs(device_request(WAY, (), client_id="app", client_secret=None).body.reveal())
