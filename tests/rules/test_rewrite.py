"""Addresses of the integration become addresses of the gateway, and no others do."""

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from valetkey.server.gateway.rewrite import Addresses, Landing

UPSTREAM, GATEWAY = "https://api.github.com", "http://localhost:8470/p/github"
GITHUB = Addresses(UPSTREAM, GATEWAY)
ENTERPRISE = Addresses("https://ghe.acme.com:8443/api/v3", GATEWAY)


def rewritten(body, *, size=0, addresses=GITHUB):
    stream = addresses.stream()
    chunks = [body[at : at + size] for at in range(0, len(body), size)] if size else [body]
    clean = b"".join([stream.feed(chunk) for chunk in chunks]) + stream.finish()
    assert clean == addresses.rewritten(body)  # a body that is there as a whole is no other case
    return clean


def by_parsing(value, name=""):
    """The same rewriting by a JSON parser, for values that are written plainly."""
    match value:
        case dict():
            return {key: by_parsing(member, key) for key, member in value.items()}
        case list():
            return [by_parsing(member) for member in value]
        case str() if name == "url" or name.endswith("_url"):
            ours = value == UPSTREAM or value.startswith(tuple(UPSTREAM + end for end in "/?#{"))
            return GATEWAY + value[len(UPSTREAM) :] if ours else value
    return value


NAMES = st.sampled_from(["url", "html_url", "_url", "urls", "curl", 'x"url', '\\"url', "_url\\", "a", "", "URL"])
TEXTS = st.sampled_from(
    [
        UPSTREAM,
        UPSTREAM + "/repos/a",
        UPSTREAM + "{/x}",
        UPSTREAM + ".evil.com/",
        UPSTREAM + "@evil/",
        UPSTREAM + ":80/",
        f'"url":"{UPSTREAM}/x"',
        f'url":"{UPSTREAM}/x',
        'url":"',
        "url",
        "_url",
        "\\",
        '\\"url',
        UPSTREAM + '"',
        "é",
        "",
    ]
)
VALUES = st.recursive(
    TEXTS | st.none() | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
)
BODIES = st.builds(
    lambda value, indent, separators, ascii_only: json.dumps(
        value, indent=indent, separators=separators, ensure_ascii=ascii_only
    ).encode(),
    st.lists(VALUES, max_size=3) | st.dictionaries(NAMES, VALUES, max_size=3),
    st.sampled_from([None, 2]),
    st.sampled_from([(",", ":"), (", ", ": "), (" ,", " :\t\n")]),
    st.booleans(),
)


@settings(deadline=None)
@given(BODIES)
def test_the_same_values_change_as_a_parser_would_change(body):
    assert json.loads(rewritten(body)) == by_parsing(json.loads(body))


@settings(deadline=None)
@given(BODIES, st.integers(1, 40))
def test_the_result_does_not_depend_on_where_chunks_end(body, size):
    assert rewritten(body, size=size) == rewritten(body)


PIECES = st.sampled_from(
    [
        '"',
        "\\",
        "url",
        "_",
        "u",
        "r",
        'url"',
        ":",
        " ",
        UPSTREAM,
        UPSTREAM.replace("/", "\\/"),
        "https",
        "/",
        "{",
        "}",
        "\\u002f",
        "\\u00",
        "\\u003A",
        "api.github.com",
        "HTTPS:\\/\\/API.GitHub.COM",
        ":443",
        "\ufeff",
        "x",
        "@",
        "\n",
    ]
)


@settings(deadline=None)
@given(st.lists(PIECES, max_size=30), st.lists(st.integers(0, 200), max_size=12))
def test_bytes_that_are_not_json_survive_any_chunking_alike(pieces, cuts):
    body = ("[" + "".join(pieces)).encode()
    stream = GITHUB.stream()
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    chunked = b"".join(stream.feed(body[a:b]) for a, b in pairwise(edges)) + stream.finish()
    assert chunked == rewritten(body)


@pytest.mark.parametrize(
    "written",
    [
        "https://api.github.com/x",
        "https:\\/\\/api.github.com\\/x",
        "https:\\u002f\\u002Fapi.github.com\\u002fx",
        "HTTPS://API.GitHub.com/x",
        "https://api.github.com:443/x",
        "\\u0068ttps://ap\\u0069.github.com/x",
    ],
)
def test_an_address_is_recognised_however_json_spells_it(written):
    body = b'{"url": "' + written.encode() + b'"}'
    assert json.loads(rewritten(body)) == {"url": GATEWAY + "/x"}
    assert rewritten(body, size=1) == rewritten(body)


@pytest.mark.parametrize(
    "other",
    [
        "https://api.github.com.evil.com/x",
        "https://api.github.com@evil/x",
        "https://api.github.com:443@evil/x",
        "http://api.github.com/x",
        "https://api.github.com:8443/x",
        "https://x@api.github.com/",
        "https://evil/api.github.com",
        "//api.github.com/x",
        "xhttps://api.github.com/x",
        "https://api.github.comx",
        "https://api.github.com\\\\@evil/x",
    ],
)
def test_another_host_scheme_or_port_is_left_alone(other):
    body = b'{"url": "' + other.encode() + b'", "a_url": "https://api.github.com/ours"}'
    assert json.loads(rewritten(body)) == {"url": json.loads(f'"{other}"'), "a_url": GATEWAY + "/ours"}
    assert other == "//api.github.com/x" or GITHUB.address(json.loads(f'"{other}"')) is None


def test_a_template_a_query_and_a_fragment_follow_the_host():
    body = json.dumps(
        {"a_url": f"{UPSTREAM}/x{{/number}}{{?page}}", "b_url": f"{UPSTREAM}?a=1", "c_url": f"{UPSTREAM}#a"}
    )
    assert json.loads(rewritten(body.encode())) == {
        "a_url": GATEWAY + "/x{/number}{?page}",
        "b_url": GATEWAY + "?a=1",
        "c_url": GATEWAY + "#a",
    }


@pytest.mark.parametrize("body", [b'see "url": "https://api.github.com/x"', b"<html>", b"", b'"url"', b"\xff\xfe{"])
def test_a_body_that_does_not_begin_like_json_is_unchanged(body):
    assert rewritten(body) == rewritten(body, size=1) == body
    assert rewritten(b"\xef\xbb\xbf \n[" + body, size=1).startswith(b"\xef\xbb\xbf \n[")


def test_only_the_members_meant_are_rewritten():
    body = b'{"curl": "https://api.github.com/x", "x": ["https://api.github.com/x"], "a\\"url": "https://api.github.com/x"}'
    assert rewritten(body) == body
    assert rewritten(body.replace(b"curl", b"_url")) != body.replace(b"curl", b"_url")


def test_a_decided_chunk_is_not_held_back():
    stream = GITHUB.stream()
    chunk = b'[{"url": "https://api.github.com/x", "html_url": "https://github.com/x"}'
    assert stream.feed(chunk) == chunk.replace(UPSTREAM.encode(), GATEWAY.encode())
    assert stream.feed(b', {"url": "https://api.git') == b', {"'
    assert stream.feed(b"lab.com/x") == b'url": "https://api.gitlab.com/x'


def test_an_upstream_below_a_path_and_on_a_port_of_its_own():
    body = b'{"url": "https://ghe.acme.com:8443/api/v3/x", "a_url": "https://ghe.acme.com:8443/api/v30/x"}'
    assert json.loads(rewritten(body, addresses=ENTERPRISE)) == {
        "url": GATEWAY + "/x",
        "a_url": "https://ghe.acme.com:8443/api/v30/x",
    }
    assert ENTERPRISE.address("/api/v3/x") == GATEWAY + "/x"
    assert ENTERPRISE.address("/api/v30/x") is None
    assert ENTERPRISE.address("https://ghe.acme.com/api/v3/x") is None


def test_a_link_header_leads_to_the_next_page_inside():
    value = f'<{UPSTREAM}/repositories/1/issues?page=2>; rel="next", <https://evil/x>; rel="x"; title="<{UPSTREAM}/a>"'
    assert GITHUB.link(value) == value.replace(f"<{UPSTREAM}/repo", f"<{GATEWAY}/repo")
    assert GITHUB.link("<?page=3>; rel=next", at="/user/repos?page=2") == f"<{GATEWAY}/user/repos?page=3>; rel=next"


INSIDE = [
    f"{UPSTREAM}/repositories/1?a=b",
    "/repositories/1?a=b",
    "../../repositories/1?a=b",
    "HTTPS://API.GITHUB.COM:443/repositories/1?a=b",
]


@pytest.mark.parametrize("location", INSIDE)
def test_a_redirect_within_the_integration_stays_inside(location):
    landing = GITHUB.landing(location, status=301, at="/repos/acme/backend")
    assert landing == Landing("inside", f"{GATEWAY}/repositories/1?a=b")


FOREIGN = [
    "https://evil/x", "//evil/x", "http://api.github.com/x", "https://api.github.com:8443/x", "https://api.github.com@evil/",
    "https:/\\evil/x", "/\\evil/x", "\\\\evil/x", "javascript:alert(1)", "data:text/html,x", "https://codeload.github.com@evil/",
    "http://codeload.github.com/x", "https://codeload.github.com:8443/x", "https://x@codeload.github.com/x",
    "https://codeload.github.com.evil/x", "https://evil/\r\nx: y", "https://codeload.github.com\t/x", "ftp://codeload.github.com/",
]  # fmt: skip


@pytest.mark.parametrize("location", FOREIGN)
def test_gw_18_a_redirect_off_the_profile_has_no_address(location):
    landing = GITHUB.landing(location, status=302, at="/x", redirect_hosts=["codeload.github.com"])
    assert landing == Landing("foreign", None)


def test_gw_18_a_listed_host_passes_on_a_redirect_and_only_then():
    location = "https://codeload.github.com/acme/backend/legacy.zip/main"
    listed = ["codeload.github.com"]
    assert GITHUB.landing(location, status=302, at="/x", redirect_hosts=listed) == Landing("listed", location)
    assert GITHUB.landing(location, status=302, at="/x").kind == "foreign"
    assert GITHUB.landing(location, status=201, at="/x", redirect_hosts=listed).kind == "foreign"


@pytest.mark.parametrize(
    "base", ["api.github.com", "ftp://x", "https://a/b?c", "https://u@x", 'https://x/"', "https://x{y}"]
)
def test_what_is_no_base_address_is_refused(base):
    with pytest.raises(ValueError, match="base address"):
        Addresses(base, GATEWAY)
