"""Every spelling of a request that two readers could take differently: GW-01, -02, -04, -12, -13, -15, -16, -17, -19.

The corpus lies in tests/vectors/request_targets.json, so that other doors and other programs can be tried with it.
"""

import base64
import json
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from valetkey.server.errors import InvalidRequest
from valetkey.server.gateway.canonical import Profile, canonical
from valetkey.server.gateway.headers import outgoing, presented_token, safe_value
from valetkey.server.gateway.scrub import MARK, Scrubber

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "request_targets.json").read_text("utf-8"))
REFUSED = [vector for vector in VECTORS if vector["verdict"] == "refused"]
ACCEPTED = [vector for vector in VECTORS if vector["verdict"] == "accepted"]


def reading(vector):
    path, _, query = vector["raw"].encode("latin-1").partition(b"?")
    members = dict(vector.get("profile", {}))
    if "credential_parameters" in members:
        members["credential_parameters"] = frozenset(members["credential_parameters"])
    return canonical(vector.get("method", "GET"), path, query, Profile(**members))


def named(vector):
    return f"{vector['threat']} {vector.get('method', '')} {vector['raw']!a}"


def test_the_corpus_holds_at_least_forty_spellings_of_a_denied_path():
    assert sum(vector["threat"] == "GW-01" for vector in REFUSED) >= 40
    assert {"GW-01", "GW-04", "GW-12", "GW-13", "GW-15", "GW-16", "GW-17"} == {vector["threat"] for vector in VECTORS}


@pytest.mark.parametrize("vector", REFUSED, ids=named)
def test_an_ambiguous_spelling_is_refused(vector):
    with pytest.raises(InvalidRequest):
        reading(vector)


@pytest.mark.parametrize("vector", ACCEPTED, ids=named)
def test_a_clear_spelling_is_read_once_and_sent_as_it_was_read(vector):
    target = reading(vector)
    assert list(target.segments) == vector["segments"]
    assert target.target_bytes.decode("ascii") == vector["sent"]


@pytest.mark.parametrize("vector", ACCEPTED, ids=named)
def test_gw_02_what_is_sent_has_no_second_reading(vector):
    """No URL parser finds anything to normalise: no dots, no raw reserved characters, no needless escape."""
    target = reading(vector)
    again = canonical("GET", target.path_bytes, target.query_bytes, Profile(matrix_params=True))
    assert again == target
    parts = urlsplit("https://api.example" + target.target_bytes.decode("ascii"))
    assert (parts.path.encode(), parts.query.encode()) == (target.path_bytes, target.query_bytes)


OVERRIDES = ["X-HTTP-Method-Override", "x-method-override", "X-HTTP-Method", "X_HTTP_Method_Override"]


@pytest.mark.parametrize("name", OVERRIDES)
def test_gw_13_a_header_that_claims_another_verb_is_refused(name):
    with pytest.raises(InvalidRequest):
        outgoing([(name.encode(), b"DELETE")], agent="a", task="tsk_1")


def test_gw_13_a_user_agent_that_claims_a_probe_changes_nothing_but_itself():
    sent = dict(outgoing([(b"user-agent", b"kube-probe/1.30")], agent="a", task="tsk_1"))
    assert sent[b"user-agent"] == b"kube-probe/1.30 valetkey (agent a; task tsk_1)"


CREDENTIAL_HEADERS = [
    "Authorization", "Proxy-Authorization", "Cookie", "Cookie2", "X-Api-Key", "x_api_key", "Api-Key", "X-Auth-Token",
    "X-Access-Token", "X-Goog-Api-Key", "Private-Token", "Job-Token", "X-Amz-Security-Token", "DPoP", "X-GitHub-OTP",
    "X-Vault-Token", "X-Shopify-Access-Token", "Ocp-Apim-Subscription-Key", "X-Secret", "X_Authorization",
]  # fmt: skip


@pytest.mark.parametrize("name", CREDENTIAL_HEADERS)
def test_gw_16_a_credential_the_client_brings_never_leaves(name):
    sent = outgoing([(name.encode(), b"mine"), (b"accept", b"*/*")], agent="a", task="tsk_1")
    assert b"mine" not in [value for _, value in sent]
    assert (b"accept", b"*/*") in sent


@pytest.mark.parametrize(
    "headers",
    [
        [(b"authorization", b"Bearer one"), (b"authorization", b"Bearer one")],
        [(b"Authorization", b"Bearer one"), (b"AUTHORIZATION", b"token two")],
        [(b"authorization", b"Bearer one"), (b"x-our-key", b"two")],
        [(b"authorization", b"Bearer one, Bearer two")],
        [(b"authorization", b"Bearer one two")],
        [(b"authorization", b"Bearer  one")],
        [(b"authorization", b"Bearer")],
        [(b"authorization", b"Basic !!!")],
        [(b"authorization", b"Basic " + base64.b64encode(b"no-colon"))],
        [(b"authorization", b"Basic " + base64.b64encode(b"user:a b"))],
        [(b"authorization", b"Basic " + base64.b64encode(b"user:\xff"))],
    ],
)
def test_gw_16_two_credentials_or_half_a_credential_are_refused(headers):
    with pytest.raises(InvalidRequest):
        presented_token(headers, ["bearer", "token", "basic", "x-our-key"])


@pytest.mark.parametrize("bad", [b"\r", b"\n", b"\0", b"\r\nX-Injected: 1", b"\x7f", b"\x1b"])
def test_gw_17_what_could_split_a_message_is_refused_in_names_values_and_injected_secrets(bad):
    for header in ((b"x-a" + bad, b"v"), (b"x-a", b"v" + bad), (b"x-a", bad + b"v")):
        with pytest.raises(InvalidRequest):
            outgoing([header], agent="a", task="tsk_1")
    with pytest.raises(InvalidRequest):
        safe_value(b"ghp_" + bad + b"secret")
    assert safe_value(b"ghp_secret") == b"ghp_secret"


SECRET = "ghp_Sec/ret+Value=0123456789~é"
ECHOES = {
    "plain": SECRET.encode(),
    "basic": base64.b64encode(b"x-access-token:" + SECRET.encode()),
    "basic with a short user": base64.b64encode(b"u:" + SECRET.encode()),
    "basic without a user": base64.b64encode(b":" + SECRET.encode()),
    "base64": base64.b64encode(SECRET.encode()),
    "base64 for addresses": base64.urlsafe_b64encode(b"u:" + SECRET.encode()),
    "base64 in an address": quote(base64.b64encode(SECRET.encode()), safe="").encode(),
    "base64 in JSON with escaped slashes": base64.b64encode(SECRET.encode()).replace(b"/", b"\\/"),
    "percent-encoded": quote(SECRET, safe="").encode(),
    "percent-encoded but slashes": quote(SECRET).encode(),
    "percent-encoded throughout": "".join(f"%{byte:02X}" for byte in SECRET.encode()).encode(),
    "percent-encoded throughout, lower case": "".join(f"%{byte:02x}" for byte in SECRET.encode()).encode(),
    "JSON": json.dumps(SECRET).strip('"').encode(),
    "JSON with escaped slashes": json.dumps(SECRET).strip('"').replace("/", "\\/").encode(),
    "JSON without ASCII escapes": json.dumps(SECRET, ensure_ascii=False).strip('"').encode(),
    "hexadecimal": SECRET.encode().hex().encode(),
}


@pytest.mark.parametrize("form", ECHOES)
def test_gw_19_an_echoed_secret_is_redacted_in_every_form(form):
    echo = ECHOES[form]
    reply = b'{"you sent": "' + echo + b'", "and": "more"}'
    stream = Scrubber([SECRET.encode()]).stream()
    seen = b"".join(stream.feed(reply[at : at + 7]) for at in range(0, len(reply), 7)) + stream.finish()
    assert MARK in seen
    assert echo not in seen
    assert echo[4:-4] not in seen
    assert seen.startswith(b'{"you sent": "')
    assert seen.endswith(b'", "and": "more"}')


def test_gw_19_another_secret_of_the_same_shape_is_left_alone():
    reply = b'{"you sent": "ghp_Sec/ret+Value=0123456788~"}'
    assert Scrubber([SECRET.encode()]).scrub(reply) == reply
