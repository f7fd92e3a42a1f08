"""Which redirect URIs may be registered, and which one a request means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from valetkey.server.errors import InvalidRequest
from valetkey.server.oauth.clients.redirects import check_redirect, is_of_this_device, matching, origin_of, place_of

GOOD = (
    "https://agent.example/callback",
    "https://agent.example:8443/callback?from=valetkey",
    "https://agent.example",
    "http://127.0.0.1/callback",
    "http://127.0.0.1:8080/callback",
    "http://[::1]:8080/callback",
    "http://localhost:3000/callback",
)
BAD = (
    "",
    "agent.example/callback",
    "http://agent.example/callback",
    "https://agent.example/callback#x",
    "https://agent.example/*",
    "https://*.agent.example/callback",
    "https://user:secret@agent.example/callback",
    "https://AGENT.example/callback",
    "https:///callback",
    "https:/agent.example/callback",
    "https:agent.example",
    "https://agent.example:0/",
    "https://agent.example:99999/",
    "https://agent.example\\callback",
    "https://agent.example/call back",
    "https://agent.ex\u0430mple/",
    "http://127.0.0.1.evil.example/",
    "http://127.0.0.1@evil.example/",
    "javascript:alert(1)",
    "java.script:alert(1)",
    "data:text/html,x",
    "file:///etc/passwd",
    "https://agent.example/" + "a" * 1_000,
)


@pytest.mark.parametrize("uri", GOOD)
@pytest.mark.parametrize("kind", ["web", "native"])
def test_https_and_this_machine_may_be_registered(uri: str, kind: str) -> None:
    check_redirect(uri, application_type=kind)
    assert matching(uri, [uri])


@pytest.mark.parametrize("uri", BAD)
@pytest.mark.parametrize("kind", ["web", "native"])
def test_anything_else_may_not(uri: str, kind: str) -> None:
    with pytest.raises(InvalidRequest):
        check_redirect(uri, application_type=kind)


def test_a_scheme_of_its_own_has_a_dot_and_is_native() -> None:
    check_redirect("com.acme.agent:/callback", application_type="native")
    for uri, kind in (
        ("com.acme.agent:/callback", "web"),
        ("acme:/callback", "native"),
        ("com.acme.agent:x", "native"),
    ):
        with pytest.raises(InvalidRequest):
            check_redirect(uri, application_type=kind)


@given(st.integers(1, 65_535))
def test_the_port_of_a_loopback_address_is_free(port: int) -> None:
    assert matching(f"http://127.0.0.1:{port}/cb", ["http://127.0.0.1/cb"])
    assert matching(f"http://[::1]:{port}/cb", ["http://[::1]:1/cb"])
    assert not matching(f"http://localhost:{port}/cb", ["http://localhost/cb"])
    assert not matching(f"https://agent.example:{port}/cb", ["https://agent.example/cb"])
    assert not matching(f"http://127.0.0.1:{port}/other", ["http://127.0.0.1/cb"])


@given(st.text(max_size=60))
def test_nothing_else_ever_matches(text: str) -> None:
    registered = ["https://agent.example/cb", "com.acme.agent:/cb"]
    assert matching(text, registered) == (text in registered)
    assert matching("https://agent.example/cb" + text, registered) == (text == "")


def test_where_it_leads_is_said_to_a_person() -> None:
    assert place_of("https://agent.example:8443/cb") == "agent.example:8443"
    assert place_of("com.acme.agent:/cb") == "com.acme.agent:"
    assert origin_of("https://agent.example/cb") == "https://agent.example"
    assert [is_of_this_device(uri) for uri in ("https://a.example/", "http://127.0.0.1/", "com.acme:/")] == [
        False,
        True,
        True,
    ]
