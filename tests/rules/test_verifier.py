"""The verifier over time: what it remembers, when it asks for keys, and how it fails without them."""

import json
from typing import Any

import pytest

from tests.support.delegated import AUDIENCE, ISSUER, NOW, PUBLIC, THUMBPRINT, agent_claims, mint
from valetkey.verify import ExpiredToken, InvalidToken, KeysUnavailable, Verifier
from valetkey.verify.errors import Reason
from valetkey.verify.keyring import MAX_AGE, MIN_INTERVAL, refuse_unsafe_url

JWKS_URI = "https://valetkey.acme.com/.well-known/jwks.json"


class Clock:
    """Moves when told."""

    def __init__(self) -> None:
        self.at = float(NOW)

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at - 1_000_000


class Issuer:
    """Publishes some keys, counts who asks, and can be away."""

    def __init__(self, *kids: str) -> None:
        self.kids, self.asked, self.away = list(kids), 0, False

    def fetch(self, url: str) -> bytes:
        assert url == JWKS_URI
        self.asked += 1
        if self.away:
            raise OSError("connection refused")
        return json.dumps({"keys": [PUBLIC[kid].jwk() for kid in self.kids]}).encode()


def verifier(clock: Clock, **changes: Any) -> Verifier:
    settings = {"keys": PUBLIC, "layout": "agent", "leeway": 0, "clock": clock} | changes
    return Verifier(ISSUER, AUDIENCE, **settings)


def online(clock: Clock, issuer: Issuer, **changes: Any) -> Verifier:
    return verifier(clock, keys=None, jwks_uri=JWKS_URI, fetch=issuer.fetch, **changes)


def test_a_remembered_token_is_the_same_answer_until_it_ends() -> None:
    clock = Clock()
    door, token = verifier(clock), mint(agent_claims(exp=NOW + 10))
    first = door.verify(token)
    clock.at += 9.999
    assert door.verify(token) is first
    clock.at = NOW + 10
    with pytest.raises(ExpiredToken):
        door.verify(token)


def test_a_refusal_is_not_remembered_as_anything_else() -> None:
    clock = Clock()
    door, early = verifier(clock), mint(agent_claims(nbf=NOW + 5))
    for _ in range(2):
        with pytest.raises(InvalidToken):
            door.verify(early)
    clock.at += 5
    assert door.verify(early)


def test_a_neighbour_of_a_remembered_token_is_refused() -> None:
    door, token = verifier(Clock()), mint(agent_claims())
    assert door.verify(token)
    for other in (token + "=", " " + token, token[:-1], token.swapcase()):
        with pytest.raises(InvalidToken):
            door.verify(other)


@pytest.mark.parametrize("capacity", [0, 1, 3])
def test_memory_is_bounded(capacity: int) -> None:
    door = verifier(Clock(), remembered=capacity)
    tokens = [mint(agent_claims(jti=f"tok_{number}")) for number in range(6)]
    for token in tokens * 2:
        assert door.verify(token)
    assert len(door._remembered) == capacity


def test_memory_holds_fingerprints_and_no_token() -> None:
    door, token = verifier(Clock()), mint(agent_claims())
    door.verify(token)
    assert token.rpartition(".")[2] not in repr(vars(door))


def test_a_bound_token_needs_the_key_it_is_bound_to() -> None:
    door, bound, free = verifier(Clock()), mint(agent_claims(cnf={"jkt": THUMBPRINT})), mint(agent_claims())
    for _ in ("first sight", "remembered"):
        assert door.verify(bound, jkt=THUMBPRINT).cnf == THUMBPRINT
        assert door.verify(free).cnf is None
        for token, jkt in [(bound, None), (bound, "A" * 43), (bound, ""), (free, THUMBPRINT), (free, "")]:
            with pytest.raises(InvalidToken) as refused:
                door.verify(token, jkt=jkt)
            assert refused.value.reason is Reason.BINDING


def test_keys_are_fetched_once_and_again_when_they_grow_old() -> None:
    clock, issuer = Clock(), Issuer("vector-es256")
    door = online(clock, issuer)
    for number in range(5):
        door.verify(mint(agent_claims(jti=f"tok_{number}")))
    assert issuer.asked == 1
    clock.at += MAX_AGE
    door.verify(mint(agent_claims(iat=int(clock.at), exp=int(clock.at) + 9)))
    assert issuer.asked == 2


def test_a_new_key_is_found_at_its_first_token() -> None:
    clock, issuer = Clock(), Issuer("vector-es256")
    door = online(clock, issuer)
    door.verify(mint(agent_claims()))
    issuer.kids.append("vector-rs256")
    clock.at += MIN_INTERVAL
    assert door.verify(mint(agent_claims(), alg="RS256"))
    assert issuer.asked == 2


def test_a_flood_of_unknown_keys_asks_once_in_ten_seconds() -> None:
    clock, issuer = Clock(), Issuer("vector-es256")
    door = online(clock, issuer)
    for _ in range(50):
        with pytest.raises(InvalidToken):
            door.verify(mint(agent_claims(), alg="RS256"))
    assert issuer.asked == 1
    clock.at += MIN_INTERVAL
    for _ in range(50):
        with pytest.raises(InvalidToken):
            door.verify(mint(agent_claims(), alg="RS256"))
    assert issuer.asked == 2


def test_a_withdrawn_key_is_forgotten_with_the_tokens_it_signed() -> None:
    clock, issuer = Clock(), Issuer("vector-es256", "vector-rs256")
    door, token = online(clock, issuer), mint(agent_claims(exp=NOW + 900))
    assert door.verify(token)
    issuer.kids.remove("vector-es256")
    clock.at += MAX_AGE - 1
    assert door.verify(token)
    clock.at += 1
    with pytest.raises(InvalidToken) as refused:
        door.verify(token)
    assert refused.value.reason is Reason.KEY


def test_without_keys_nothing_is_verified() -> None:
    clock, issuer = Clock(), Issuer("vector-es256")
    issuer.away = True
    door = online(clock, issuer)
    for _ in range(20):
        with pytest.raises(KeysUnavailable):
            door.verify(mint(agent_claims()))
    assert issuer.asked == 1
    issuer.away = False
    clock.at += MIN_INTERVAL
    assert door.verify(mint(agent_claims()))


def test_keys_in_hand_outlast_a_short_outage_and_not_a_long_one() -> None:
    clock, issuer = Clock(), Issuer("vector-es256")
    door = online(clock, issuer)
    door.verify(mint(agent_claims()))
    issuer.away = True
    clock.at += MAX_AGE - 1
    with pytest.raises(InvalidToken):
        door.verify(mint(agent_claims(exp=NOW + 900), alg="RS256"))
    assert issuer.asked == 2
    assert door.verify(mint(agent_claims(jti="tok_1", exp=NOW + 900)))
    clock.at += 1
    with pytest.raises(KeysUnavailable):
        door.verify(mint(agent_claims(jti="tok_2", exp=NOW + 900)))


@pytest.mark.parametrize(
    "answer", [b"", b"{}", b'{"keys":[]}', b"<html>", None, b'{"keys":[{"kty":"oct","k":"AAAA"}]}']
)
def test_a_key_set_that_is_wrong_is_no_key_set(answer: Any) -> None:
    with pytest.raises(KeysUnavailable):
        verifier(Clock(), keys=None, jwks_uri=JWKS_URI, fetch=lambda _: answer).verify(mint(agent_claims()))


@pytest.mark.parametrize(
    "url",
    [
        "http://valetkey.acme.com/jwks",
        "http://127.0.0.1.evil.example/",
        "ftp://localhost/",
        "file:///etc/passwd",
        "",
        "x",
    ],
)
def test_keys_over_an_open_wire_are_refused(url: str) -> None:
    for good in (
        "https://valetkey.acme.com/jwks",
        "http://localhost:8080/jwks",
        "http://[::1]/jwks",
        "http://127.0.0.1/",
    ):
        refuse_unsafe_url(good)
    with pytest.raises(ValueError, match="https"):
        verifier(Clock(), keys=None, jwks_uri=url)


@pytest.mark.parametrize(
    "changes",
    [
        {"keys": None}, {"keys": {}}, {"jwks_uri": JWKS_URI}, {"leeway": 31}, {"leeway": -1}, {"max_lifetime": 901},
        {"max_lifetime": 0}, {"remembered": -1}, {"organization": ""}, {"leeway": float("nan")},
    ],
    ids=repr,
)  # fmt: skip
def test_a_verifier_that_is_not_fully_told_does_not_start(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"give either|leeway|needs"):
        verifier(Clock(), **changes)
