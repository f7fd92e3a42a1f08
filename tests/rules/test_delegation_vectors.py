"""The language-neutral vectors: made without the verifier's code, read by it, and by the published JSON Schema."""

import base64
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from tools.delegation_jwt_vectors import build

from valetkey.verify import InvalidToken, Verifier, parse_jwks
from valetkey.verify.errors import Reason

ROOT = Path(__file__).parents[2]
VECTORS: dict[str, Any] = json.loads((ROOT / "tests/vectors/delegation_jwt.json").read_text())
SCHEMA: dict[str, Any] = json.loads((ROOT / "docs/delegation-jwt.schema.json").read_text())
ACCEPTED, REFUSED = VECTORS["accepted"], VECTORS["refused"]
# Wrong in the claims, yet beyond what a schema can say.
NOT_SEEN_BY_SCHEMA = {"client_id of another", "an agent acting for itself", "nine agents", "a claim in other letters"}


class VectorClock:
    def now(self) -> float:
        return float(VECTORS["now"])

    monotonic = now


def verifier(layout: Any) -> Verifier:
    return Verifier(
        VECTORS["issuer"],
        VECTORS["audience"],
        keys=parse_jwks(VECTORS["jwks"]),
        layout=layout,
        leeway=VECTORS["leeway"],
        max_lifetime=VECTORS["max_lifetime"],
        clock=VectorClock(),
    )


def schema(layout: str) -> Draft202012Validator:
    return Draft202012Validator(SCHEMA | {"oneOf": [{"$ref": f"#/$defs/{layout}"}]})


@pytest.mark.parametrize("vector", ACCEPTED, ids=lambda vector: f"{vector['layout']}-{vector['name']}")
def test_an_accepted_vector_says_what_it_should(vector: dict[str, Any]) -> None:
    said = verifier(vector["layout"]).verify(vector["token"], jkt=vector["says"]["cnf"])
    grants = [
        {
            "type": grant.integration,
            "connection": grant.connection,
            "actions": grant.scopes,
            "resources": grant.resources,
        }
        for grant in said.grants
    ]
    assert [{key: value for key, value in grant.items() if value is not None} for grant in grants] == [
        grant | {"actions": set(grant["actions"]), "resources": set(grant["resources"])}
        for grant in vector["says"]["grants"]
    ]
    assert {
        "user": said.user.uid,
        "agent": said.agent.uid,
        "chain": [agent.uid for agent in said.chain],
        "scopes": sorted(said.scopes),
        "cnf": said.cnf,
        "grants": vector["says"]["grants"],
    } == vector["says"]


@pytest.mark.parametrize("vector", REFUSED, ids=lambda vector: f"{vector['layout']}-{vector['name']}"[:60])
def test_a_refused_vector_is_refused_for_its_reason(vector: dict[str, Any]) -> None:
    with pytest.raises(InvalidToken) as refused:
        verifier(vector["layout"]).verify(vector["token"])
    assert refused.value.reason == vector["reason"]


def test_every_reason_a_token_can_be_refused_for_has_a_vector() -> None:
    counted = Counter(vector["reason"] for vector in REFUSED)
    # `organization`, `binding` and `proof` depend on what the verifier was told, not on the token.
    assert set(Reason) - set(counted) == {Reason.ORGANIZATION, Reason.BINDING, Reason.PROOF}


@pytest.mark.parametrize("vector", ACCEPTED, ids=lambda vector: f"{vector['layout']}-{vector['name']}")
def test_the_schema_accepts_every_accepted_vector_in_its_layout_only(vector: dict[str, Any]) -> None:
    payload = vector["token"].split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    assert claims == vector["claims"]
    other = {"agent": "rfc8693", "rfc8693": "agent"}[vector["layout"]]
    assert list(schema(vector["layout"]).iter_errors(claims)) == []
    assert not schema(other).is_valid(claims)
    assert Draft202012Validator(SCHEMA).is_valid(claims)


@pytest.mark.parametrize(
    "vector",
    [v for v in REFUSED if v["reason"] in {"layout", "claim", "time_shape"} and v["name"] not in NOT_SEEN_BY_SCHEMA],
    ids=lambda vector: f"{vector['layout']}-{vector['name']}",
)
def test_the_schema_refuses_what_is_wrong_in_the_claims(vector: dict[str, Any]) -> None:
    payload = vector["token"].split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    if type(claims.get("exp")) is float:
        claims["exp"] = str(claims["exp"])  # NOTE: to JSON Schema 1.0 is an integer; to us it is not
    assert not schema(vector["layout"]).is_valid(claims)


def test_the_schema_is_a_schema_and_the_vectors_are_fresh() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert build() == VECTORS


def test_the_specification_shows_true_examples_and_every_reason() -> None:
    page = (ROOT / "docs/delegation-jwt.md").read_text()
    examples = [block.split("```")[0] for block in page.split("```json\n")[1:]]
    agent, rfc8693 = (json.loads(example) for example in examples)
    assert list(schema("agent").iter_errors(agent)) == []
    assert list(schema("rfc8693").iter_errors(agent | rfc8693)) == []
    assert [reason for reason in Reason if f"`{reason}`" not in page] == []
