"""Where a request inside a tunnel leads: by host, path and, where several APIs share both, by whose paths these are."""

from dataclasses import replace

import pytest

from valetkey.client.addressed import Tunnelled, authority_of, routes_of
from valetkey.client.answers import Integration
from valetkey.client.errors import Denied, InvalidRequest, NotFound

GATEWAY = "https://keys.acme.com/vk"


def known(name: str, audience: str, *addresses: tuple[str, str]) -> Integration:
    places = [{"address": address, "gateway": f"{GATEWAY}/p/{name}{below}"} for address, below in addresses]
    return {
        "name": name, "title": name, "audience": audience, "base_url": addresses[0][0], "gateway": places[0]["gateway"],
        "addresses": places, "scopes": [],
    }  # type: ignore[typeddict-item]  # fmt: skip


ROUTES = routes_of(
    [
        known("drive", "https://www.googleapis.com/drive/v3", ("https://www.googleapis.com", "")),
        known("calendar", "https://www.googleapis.com/calendar/v3", ("https://www.googleapis.com", "")),
        known(
            "github", "https://api.github.com", ("https://git.acme.com/api/v3", ""), ("https://git.acme.com", "/git")
        ),
        known("slack", "https://slack.com/api", ("https://slack.com/api", "")),
    ]
)


def tunnel(host: str, *granted: str) -> Tunnelled:
    routes = tuple(route for route in ROUTES if route.host == host)
    return Tunnelled(host=host, port=443, routes=routes, granted=frozenset(granted), gateway=GATEWAY)


@pytest.mark.parametrize(
    ("host", "target", "api", "led", "own"),
    [
        ("slack.com", "/api/chat.postMessage?x=1", "slack", "/p/slack/chat.postMessage?x=1", "https://slack.com/api/"),
        ("git.acme.com", "/api/v3/user", "github", "/p/github/user", "https://git.acme.com/api/v3/"),
        ("git.acme.com", "/a/b.git/info/refs", "github", "/p/github/git/a/b.git/info/refs", "https://git.acme.com/"),
        ("git.acme.com", "/api/v33/x", "github", "/p/github/git/api/v33/x", "https://git.acme.com/"),
        ("www.googleapis.com", "/drive/v3/files", "drive", "/p/drive/drive/v3/files", "https://www.googleapis.com/"),
        (
            "www.googleapis.com",
            "/calendar/v3/a",
            "calendar",
            "/p/calendar/calendar/v3/a",
            "https://www.googleapis.com/",
        ),
    ],
)
def test_a_path_leads_to_the_api_whose_it_is(host: str, target: str, api: str, led: str, own: str) -> None:
    onward = tunnel(host, "drive", "calendar", "github", "slack").onward(target)
    assert (onward.api, onward.target, onward.own) == (api, led, own)
    assert onward.theirs.startswith(f"{GATEWAY}/p/{api}")


@pytest.mark.parametrize(
    ("host", "target"),
    [
        ("slack.com", "/"),
        ("slack.com", "/apis/x"),
        ("slack.com", "/x/api/y"),
        ("www.googleapis.com", "/upload/drive/v3/files"),
        ("www.googleapis.com", "/drive/v33"),
    ],
)
def test_a_path_that_is_nobodys_leads_nowhere(host: str, target: str) -> None:
    with pytest.raises(NotFound):
        tunnel(host, "drive", "calendar", "slack").onward(target)


def test_what_shares_a_host_is_granted_one_by_one() -> None:
    shared = tunnel("www.googleapis.com", "drive")
    assert shared.onward("/drive/v3/files").api == "drive"
    with pytest.raises(Denied, match="calendar"):
        shared.onward("/calendar/v3/a")
    with pytest.raises(Denied, match="calendar"):
        replace(shared, granted=frozenset()).onward("/calendar/v3/a")


@pytest.mark.parametrize("target", ["https://slack.com/api/x", "api/x", "", "*", "/api/\u00e9"])
def test_a_target_inside_a_tunnel_is_a_path(target: str) -> None:
    with pytest.raises(InvalidRequest):
        tunnel("slack.com", "slack").onward(target)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("API.github.com:443", ("api.github.com", 443)),
        ("api.github.com.:443", ("api.github.com", 443)),
        ("[::1]:8443", ("::1", 8443)),
        ("127.0.0.1:1", ("127.0.0.1", 1)),
    ],
)
def test_an_authority_has_one_reading(text: str, place: tuple[str, int]) -> None:
    assert authority_of(text) == place


@pytest.mark.parametrize(
    "text", ["", "a", ":1", "a:", "a:0", "a:65536", "a:+1", "a:\u0661", "::1:1", "u@a:1", "a/b:1", "[a:1"]
)
def test_another_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        authority_of(text)
