"""Requests and answers as values: what is sent, what is read, and which refusal an answer stands for."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from valetkey.client import credentials, errors, protocol
from valetkey.client.errors import BY_CODE, ValetkeyError
from valetkey.client.fresh import Fresh
from valetkey.client.http import base_of, proxy_for
from valetkey.client.placeholder import NotHeld, new_placeholder, put
from valetkey.client.protocol import Response, at, get, post, read
from valetkey.client.rebase import Rebase


def problem(code: str, status: int, **members: Any) -> Response:
    document = {"type": "t", "status": status, "code": code, "detail": "In words.", "hint": "Do this.", **members}
    return Response(status, {"content-type": "application/problem+json"}, json.dumps(document).encode())


def test_a_good_answer_is_its_json_value() -> None:
    assert read(Response(201, {}, b'{"id": "agt_1"}')) == {"id": "agt_1"}


@pytest.mark.parametrize("code", sorted(BY_CODE))
def test_every_problem_code_is_an_exception_named_like_it(code: str) -> None:
    with pytest.raises(ValetkeyError) as caught:
        read(problem(code, 403, decision="aud_1", request_id="aud_2"))
    error = caught.value
    assert type(error) is BY_CODE[code]
    assert (error.code, error.detail, error.hint, error.status) == (code, "In words.", "Do this.", 403)
    assert (error.members["decision"], error.request_id) == ("aud_1", "aud_2")
    if code != "internal":
        assert type(error).__name__ == "".join(word.capitalize() for word in code.split("_"))


def test_a_code_nobody_knows_yet_is_still_a_refusal() -> None:
    with pytest.raises(ValetkeyError):
        read(problem("from_the_future", 418))


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        ("invalid_client", 401, errors.NotAuthenticated),
        ("invalid_scope", 400, errors.Denied),
        ("invalid_request", 400, errors.InvalidRequest),
        ("temporarily_unavailable", 503, errors.Unavailable),
        ("temporarily_unavailable", 429, errors.TooMany),
    ],
)
def test_the_token_endpoints_errors_are_the_same_classes(error: str, status: int, kind: type[ValetkeyError]) -> None:
    body = json.dumps({"error": error, "error_description": "In words."}).encode()
    with pytest.raises(kind, match="In words"):
        read(Response(status, {}, body))


@pytest.mark.parametrize("body", [b"<html>Bad Gateway</html>", b"[]", b"", b'{"code": 5}'])
def test_an_answer_of_somebody_else_is_a_refusal_that_says_so(body: bytes) -> None:
    with pytest.raises(errors.Unavailable, match="502"):
        read(Response(502, {}, body))


def test_a_page_in_the_place_of_json_is_not_success() -> None:
    with pytest.raises(ValetkeyError, match="not JSON"):
        read(Response(200, {}, b"<html>"))


def test_members_that_are_none_are_left_out() -> None:
    assert post("/v1/tasks", delegation="dlg_1", seconds=None).body == b'{"delegation": "dlg_1"}'
    assert get("/v1/audit", limit=5, cursor=None).path == "/v1/audit?limit=5"


@given(st.text(min_size=1))
def test_a_name_never_becomes_another_path(name: str) -> None:
    path = at("agents", name.encode("utf-8", "replace").decode(), "suspend")
    assert path.count("/") == 4
    assert not {"?", "#", " ", "\r", "\n"} & set(path)


def test_a_clients_secret_goes_into_the_authorization_header_alone() -> None:
    request = protocol.client_api_token("pr:reviewer", "vkag_secret")
    assert b"vkag_secret" not in (request.body or b"")
    pair = base64.b64decode(request.headers["Authorization"].removeprefix("Basic ")).decode()
    assert pair == "pr%3Areviewer:vkag_secret"


def test_a_proof_prints_without_what_it_holds() -> None:
    for text in ("vkcl_hidden", "agent:vkag_hidden", "a.hidden.c"):
        assert "hidden" not in repr(credentials.from_text(text))


@pytest.mark.parametrize("text", ["", "ghp_somebody", "vkag_without_its_name"])
def test_a_credential_of_no_known_form_is_refused(text: str) -> None:
    with pytest.raises(errors.NotAuthenticated) as caught:
        credentials.from_text(text)
    assert text not in str(caught.value) or not text


@pytest.mark.parametrize(
    "url", ["http://localhost:8470", "http://127.0.0.1:1", "http://[::1]:8470", "https://x.example"]
)
def test_plain_http_reaches_this_machine_and_tls_any(url: str) -> None:
    assert base_of(url).geturl() == url


@pytest.mark.parametrize(
    "url",
    ["http://x.example", "http://localhost.x.example", "http://127.0.0.1.x.example", "ftp://localhost", "localhost:1",
     "https://user:secret@x.example", "https://x.example/?q=1", "https://x.example:99999", "https://"],
)  # fmt: skip
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(errors.InvalidRequest):
        base_of(url)


def test_a_proxy_is_for_tls_beyond_this_machine() -> None:
    proxied = {"HTTPS_PROXY": "http://proxy.example:3128"}
    found = proxy_for(base_of("https://x.example"), proxied)
    assert found is not None
    assert found.hostname == "proxy.example"
    assert proxy_for(base_of("http://localhost:8470"), proxied) is None
    assert proxy_for(base_of("https://localhost:8470"), proxied) is None
    assert proxy_for(base_of("https://x.example"), proxied | {"NO_PROXY": "a.example, .x.example"}) is None
    assert proxy_for(base_of("https://notx.example"), proxied | {"NO_PROXY": "x.example"}) is not None


@given(st.lists(st.sampled_from([b"http://g/p/", b"http://g", b"/p/", b"x", b"http:", b"//"])), st.data())
def test_leading_back_does_not_depend_on_where_the_pieces_end(parts: list[bytes], data: st.DataObject) -> None:
    body = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)))))
    rebase = Rebase(b"http://g/p/", b"http://127.0.0.1:9/p/")
    pieces = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    led = b"".join(map(rebase.feed, pieces)) + rebase.finish()
    assert led == body.replace(b"http://g/p/", b"http://127.0.0.1:9/p/")


def test_nothing_is_held_back_that_cannot_become_an_address() -> None:
    assert Rebase(b"http://g/p/", b"").feed(b"data: tick\n\n") == b"data: tick\n\n"


HELD = new_placeholder()


def basic(pair: str) -> str:
    return "Basic " + base64.b64encode(pair.encode()).decode()


@pytest.mark.parametrize(
    ("value", "led"),
    [
        (f"Bearer {HELD}", "Bearer FRESH"),
        (f"token {HELD}", "token FRESH"),
        (HELD, "FRESH"),
        (basic(f"x-access-token:{HELD}"), basic("x-access-token:FRESH")),
        (basic(f"{HELD}:"), basic("FRESH:")),
    ],
)
def test_the_credential_goes_where_the_placeholder_was(value: str, led: str) -> None:
    headers = [("Accept", "*/*"), ("Authorization", value)]
    assert put(headers, placeholder=HELD, credential="FRESH") == [("Accept", "*/*"), ("Authorization", led)]


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("Authorization", "Bearer other")],
        [("Authorization", f"Bearer {HELD}x")],
        [("Authorization", f"Bearer x{HELD}")],
        [("Authorization", f"Bearer {HELD[:-1]}")],
        [("Authorization", f"Bearer {HELD}"), ("X-Token", HELD)],
        [("Authorization", f"Bearer {HELD}"), ("Authorization", "Bearer other")],
        [("Authorization", "Basic !!!")],
        [("Authorization", "")],
    ],
)
def test_without_the_placeholder_in_exactly_one_place_nothing_passes(headers: list[tuple[str, str]]) -> None:
    with pytest.raises(NotHeld):
        put(headers, placeholder=HELD, credential="FRESH")


def test_a_credential_is_renewed_after_half_its_life_and_no_sooner() -> None:
    now, minted = [1000.0], iter(["first", "second"])
    fresh = Fresh(lambda api: (next(minted), 300.0), monotonic=lambda: now[0])
    assert fresh.credential("github") == "first"
    now[0] += 149
    assert fresh.credential("github") == "first"
    now[0] += 1
    assert fresh.credential("github") == "second"


def test_a_refused_mint_is_not_remembered() -> None:
    answers: list[Any] = [errors.Expired(), ("later", 60.0)]

    def mint(api: str) -> tuple[str, float]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]

    fresh = Fresh(mint)
    with pytest.raises(errors.Expired):
        fresh.credential("github")
    assert fresh.credential("github") == "later"
