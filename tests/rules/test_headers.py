"""Which headers cross the gateway, and where a client may put our token."""

import base64

import pytest

from valetkey.server.errors import InvalidRequest, NotAuthenticated, UpstreamFailed
from valetkey.server.gateway.headers import incoming, is_encoded, outgoing, presented_token, refuse_navigation

GITHUB = ["bearer", "token", "basic"]
OURS = {b"accept-encoding": b"identity", b"user-agent": b"valetkey (agent pr-reviewer-v2; task tsk_1)"}


def sent(*headers, **members):
    return outgoing(headers, agent="pr-reviewer-v2", task="tsk_1", **members)


def handed(*headers, **members):
    return {name for name, _ in incoming(headers, **members)}


def basic(pair):
    return b"Basic " + base64.b64encode(pair)


@pytest.mark.parametrize(
    "value",
    [b"Bearer a.b-c_~+/=", b"token a.b-c_~+/=", b"bearer a.b-c_~+/=", b"TOKEN a.b-c_~+/=", basic(b"x:a.b-c_~+/=")],
)
def test_the_token_is_taken_from_the_place_stock_clients_put_it(value):
    assert presented_token([(b"accept", b"*/*"), (b"Authorization", value)], GITHUB).token == "a.b-c_~+/="
    with pytest.raises(NotAuthenticated):
        presented_token([(b"accept", value)], GITHUB)


def test_a_position_the_integration_does_not_list_is_not_read():
    assert presented_token([(b"authorization", b"Bearer one")], ["bearer"]).token == "one"
    with pytest.raises(NotAuthenticated):
        presented_token([(b"authorization", b"token one")], ["bearer"])
    with pytest.raises(NotAuthenticated):
        presented_token([(b"x-api-key", b"one")], ["bearer"])


def test_a_header_of_its_own_can_be_the_position_and_then_the_only_one():
    positions = ["bearer", "x-api-key"]
    assert presented_token([(b"X-Api-Key", b"one")], positions).token == "one"
    with pytest.raises(InvalidRequest):
        presented_token([(b"X-Api-Key", b"one"), (b"Authorization", b"Bearer one")], positions)


def test_a_header_named_like_a_scheme_is_not_a_position():
    with pytest.raises(NotAuthenticated):
        presented_token([(b"token", b"one")], GITHUB)


def test_a_password_may_hold_a_colon_only_if_a_token_may():
    assert presented_token([(b"authorization", basic(b":one"))], GITHUB).token == "one"
    with pytest.raises(InvalidRequest):
        presented_token([(b"authorization", basic(b"user:one:two"))], GITHUB)


def test_a_refused_credential_is_not_repeated():
    with pytest.raises(InvalidRequest) as refused:
        presented_token([(b"authorization", b"Bearer hun ter2")], GITHUB)
    assert "ter2" not in refused.value.public + refused.value.detail
    with pytest.raises(NotAuthenticated) as unknown:
        presented_token([(b"authorization", b"hunter2")], GITHUB)
    assert "hunter2" not in unknown.value.public + unknown.value.detail


def test_ordinary_headers_cross_and_ours_are_added():
    kept = [(b"accept", b"application/json"), (b"x-github-api-version", b"2022-11-28"), (b"if-none-match", b'"e"')]
    assert sent(*kept) == [*kept, *OURS.items()]


def test_the_user_agent_is_kept_and_says_who_acts():
    assert dict(sent((b"User-Agent", b"PyGithub/Python")))[b"user-agent"] == b"PyGithub/Python " + OURS[b"user-agent"]
    assert outgoing([], agent="a)\r\nx: (b\\", task="é")[-1][1] == b"valetkey (agent a???x:??b?; task ?)"


def test_a_header_named_by_connection_stays_on_its_hop():
    assert (b"x-a", b"1") in sent((b"x-a", b"1"))
    assert (b"x-a", b"1") not in sent((b"Connection", b"close, X-A"), (b"x-a", b"1"))


HOP = ["connection", "keep-alive", "te", "trailer", "transfer-encoding", "proxy-connection", "http2-settings"]


@pytest.mark.parametrize("name", [*HOP, "host", "expect", "max-forwards", "accept-encoding", "early-data"])
def test_what_belongs_to_one_hop_does_not_cross(name):
    assert sent((name.encode(), b"mine")) == list(OURS.items())


CLAIMS = (
    "forwarded x-forwarded-for x-forwarded-host x_forwarded_proto x-original-url x-real-ip via origin referer "
    "x-rewrite-url true-client-ip cf-connecting-ip sec-fetch-site sec-anything"
)


@pytest.mark.parametrize("name", CLAIMS.split())
def test_gw_11_a_claim_about_where_a_call_comes_from_does_not_cross(name):
    assert sent((name.encode(), b"mine")) == list(OURS.items())


def test_a_profile_can_name_further_credential_headers():
    assert (b"x-figma", b"mine") in sent((b"x-figma", b"mine"))
    assert (b"x-figma", b"mine") not in sent((b"x-figma", b"mine"), credential_headers=frozenset({b"x-figma"}))


@pytest.mark.parametrize("name", ["content-length", "content-type", "user-agent"])
def test_a_header_that_may_occur_once_is_refused_twice(name):
    header = (name.encode(), b"1")
    assert header[0] in dict(sent(header))
    with pytest.raises(InvalidRequest):
        sent(header, header)


def test_gw_06_a_body_with_two_lengths_is_refused():
    assert (b"content-length", b"3") in sent((b"content-length", b"3"))
    with pytest.raises(InvalidRequest):
        sent((b"content-length", b"3"), (b"transfer-encoding", b"chunked"))
    for length in (b"+3", b"3,3", b"0x3", b"", b"-1", b"\xb2"):
        with pytest.raises(InvalidRequest):
            sent((b"content-length", length))


def test_gw_20_an_upgrade_is_refused_and_an_offered_one_not_passed_on():
    assert sent((b"connection", b"upgrade, http2-settings"), (b"upgrade", b"h2c")) == list(OURS.items())
    with pytest.raises(InvalidRequest):
        sent((b"connection", b"upgrade"), (b"upgrade", b"websocket"))


@pytest.mark.parametrize("name", [b"", b"a b", b"a:", b"\xc3\xa9", b"a\n", b"(a)"])
def test_gw_17_a_header_name_that_is_no_token_is_refused_in_both_directions(name):
    with pytest.raises(InvalidRequest):
        sent((name, b"1"))
    with pytest.raises(UpstreamFailed):
        incoming([(name, b"1")])


ACTIVE = (
    "set-cookie clear-site-data service-worker-allowed strict-transport-security alt-svc refresh age expires pragma "
    "access-control-allow-origin access-control-allow-credentials connection transfer-encoding x-accel-redirect "
    "x-sendfile nel report-to www-authenticate"
)


@pytest.mark.parametrize("name", ACTIVE.split())
def test_an_upstream_cannot_act_on_our_origin(name):
    assert name.encode() not in handed((name.encode(), b"mine"), (b"etag", b'"e"'))
    assert b"etag" in handed((name.encode(), b"mine"), (b"etag", b'"e"'))


def test_every_answer_is_sandboxed_and_kept_out_of_shared_caches_whatever_the_upstream_says():
    theirs = [(b"Content-Security-Policy", b"*"), (b"cache-control", b"public"), (b"X-Content-Type-Options", b"")]
    assert incoming(theirs) == [
        (b"content-security-policy", b"sandbox; default-src 'none'"),
        (b"x-content-type-options", b"nosniff"),
        (b"cache-control", b"private, no-cache"),
    ]


def test_an_upstream_cannot_take_our_headers_away_by_naming_them_hop_by_hop():
    names = handed((b"connection", b"content-security-policy, x-content-type-options, x-a"), (b"x-a", b"1"))
    assert names == {b"content-security-policy", b"x-content-type-options", b"cache-control"}


def test_the_length_is_kept_only_when_the_body_cannot_change():
    assert b"content-length" not in handed((b"content-length", b"3"))
    assert b"content-length" in handed((b"content-length", b"3"), keep_length=True)


def test_a_compressed_answer_is_recognised():
    assert is_encoded([(b"Content-Encoding", b"gzip")])
    assert not is_encoded([(b"Content-Encoding", b"identity"), (b"vary", b"gzip")])


@pytest.mark.parametrize("mode", [b"navigate", b"Navigate", b"cors, navigate"])
def test_a_browser_cannot_open_an_answer_as_a_page(mode):
    refuse_navigation([(b"sec-fetch-mode", b"cors")])
    with pytest.raises(InvalidRequest):
        refuse_navigation([(b"Sec-Fetch-Mode", mode)])
