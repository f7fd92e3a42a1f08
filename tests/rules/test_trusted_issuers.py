"""When a platform's claims mean an agent: exact facts, parsed first, never a pattern. SP-1, SS-03."""

from dataclasses import replace
from typing import Any

import pytest

from valetkey.server.errors import InvalidRequest
from valetkey.server.principals.issuers.model import (
    IssuerKind,
    Rule,
    Trust,
    TrustedIssuer,
    checked,
    facts_of,
    is_meant,
    trust_domain,
)

ISSUERS = {
    IssuerKind.KUBERNETES: ("https://cluster.example", {"namespace": "ci", "serviceaccount": "reviewer"}),
    IssuerKind.GITHUB: ("https://token.actions.githubusercontent.com", {"repository": "acme-corp/backend"}),
    IssuerKind.SPIFFE: ("spiffe://acme.com", {"sub": "spiffe://acme.com/ns/ci/sa/reviewer"}),
    IssuerKind.GENERIC: ("https://platform.example/t1", {"sub": "job-7"}),
}
TRUE: dict[IssuerKind, dict[str, Any]] = {
    IssuerKind.KUBERNETES: {"sub": "system:serviceaccount:ci:reviewer"},
    IssuerKind.GITHUB: {"sub": "repo:acme-corp/backend:ref:refs/heads/main", "repository": "acme-corp/backend"},
    IssuerKind.SPIFFE: {"sub": "spiffe://acme.com/ns/ci/sa/reviewer"},
    IssuerKind.GENERIC: {"sub": "job-7"},
}


def trusted(kind: IssuerKind, *rules: Rule, **more: Any) -> TrustedIssuer:
    issuer, claims = ISSUERS.get(kind, ("https://idp.example", {}))
    return TrustedIssuer(
        id="iss_1",
        org="org_1",
        issuer=more.get("issuer", issuer),
        kind=kind,
        jwks_uri=more.get("jwks_uri", "https://keys.example/jwks"),
        jwks=more.get("jwks"),
        trust=Trust(
            audience=more.get("audience", "https://valetkey.example"),
            rules=rules if rules or more.get("bare") else (Rule(agent="agt_1", claims=claims),),
            at_token_endpoint=more.get("at_token_endpoint", False),
        ),
        created_by="usr_1",
        created_at=0,
    )


@pytest.mark.parametrize("kind", list(ISSUERS))
def test_the_right_claims_mean_the_agent_and_no_other(kind: IssuerKind) -> None:
    issuer = checked(trusted(kind))
    assert is_meant(issuer, "agt_1", TRUE[kind])
    assert not is_meant(issuer, "agt_2", TRUE[kind])
    assert not is_meant(issuer, "agt_1", {})


@pytest.mark.parametrize(
    ("kind", "claims"),
    [
        (IssuerKind.KUBERNETES, {"sub": "system:serviceaccount:ci:reviewer2"}),
        (IssuerKind.KUBERNETES, {"sub": "system:serviceaccount:ci:reviewer:x"}),
        (IssuerKind.KUBERNETES, {"sub": "system:serviceaccount:ci:reviewer\n"}),
        (IssuerKind.KUBERNETES, {"sub": "xsystem:serviceaccount:ci:reviewer"}),
        (IssuerKind.KUBERNETES, {"sub": "system:serviceaccount:CI:reviewer"}),
        (IssuerKind.KUBERNETES, {"sub": "system:node:x", "namespace": "ci", "serviceaccount": "reviewer"}),
        (IssuerKind.KUBERNETES, {"namespace": "ci", "serviceaccount": "reviewer"}),
        (IssuerKind.GITHUB, {"repository": "acme-corp/backend2"}),
        (IssuerKind.GITHUB, {"repository": "Acme-Corp/backend"}),
        (IssuerKind.GITHUB, {"repository": ["acme-corp/backend"]}),
        (IssuerKind.GITHUB, {"repository_owner": "acme-corp"}),
        (IssuerKind.SPIFFE, {"sub": "spiffe://acme.com/ns/ci/sa/reviewer/"}),
        (IssuerKind.SPIFFE, {"sub": "spiffe://acme.com/ns/ci/../ci/sa/reviewer"}),
        (IssuerKind.SPIFFE, {"sub": "spiffe://ACME.com/ns/ci/sa/reviewer"}),
        (IssuerKind.SPIFFE, {"sub": "spiffe://acme.com.evil.example/ns/ci/sa/reviewer"}),
        (IssuerKind.SPIFFE, {"sub": "https://acme.com/ns/ci/sa/reviewer"}),
        (IssuerKind.GENERIC, {"sub": "job-70"}),
        (IssuerKind.GENERIC, {"sub": ["job-7"]}),
        (IssuerKind.GENERIC, {"sub": "JOB-7"}),
    ],
)
def test_one_changed_fact_means_nobody(kind: IssuerKind, claims: dict[str, Any]) -> None:
    assert not is_meant(trusted(kind), "agt_1", claims)


def test_every_fact_of_a_rule_has_to_be_true() -> None:
    rule = Rule(agent="agt_1", claims={"repository": "acme-corp/backend", "environment": "production"})
    issuer = checked(trusted(IssuerKind.GITHUB, rule))
    assert is_meant(issuer, "agt_1", TRUE[IssuerKind.GITHUB] | {"environment": "production"})
    assert not is_meant(issuer, "agt_1", TRUE[IssuerKind.GITHUB])
    assert not is_meant(issuer, "agt_1", TRUE[IssuerKind.GITHUB] | {"environment": "staging"})


def test_a_rule_without_facts_means_nobody() -> None:
    issuer = trusted(IssuerKind.GENERIC, Rule(agent="agt_1", claims={}))
    assert not is_meant(issuer, "agt_1", TRUE[IssuerKind.GENERIC])
    with pytest.raises(InvalidRequest):
        checked(issuer)


def test_an_identity_provider_means_no_agent() -> None:
    issuer = trusted(IssuerKind.IDP, Rule(agent="agt_1", claims={"sub": "x"}))
    assert not is_meant(issuer, "agt_1", {"sub": "x"})
    with pytest.raises(InvalidRequest):
        checked(issuer)
    assert checked(trusted(IssuerKind.IDP, bare=True)).trust.rules == ()


@pytest.mark.parametrize(
    ("kind", "claims"),
    [
        (IssuerKind.KUBERNETES, {"namespace": "ci"}),
        (IssuerKind.KUBERNETES, {"namespace": "ci", "serviceaccount": "*"}),
        (IssuerKind.KUBERNETES, {"sub": "system:serviceaccount:ci"}),
        (IssuerKind.KUBERNETES, {"sub": "system:serviceaccount:ci:reviewer", "iss": "x"}),
        (IssuerKind.GITHUB, {"repository_owner": "acme-corp"}),
        (IssuerKind.GITHUB, {"repository": "acme-corp/*"}),
        (IssuerKind.GITHUB, {"repository": ""}),
        (IssuerKind.SPIFFE, {"sub": "spiffe://acme.com"}),
        (IssuerKind.SPIFFE, {"sub": "spiffe://acme.com/ns/*"}),
        (IssuerKind.GENERIC, {"iss": "https://platform.example/t1"}),
        (IssuerKind.GENERIC, {"sub": "job\n7"}),
    ],
)
def test_a_rule_that_would_mean_too_many_is_not_kept(kind: IssuerKind, claims: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest):
        checked(trusted(kind, Rule(agent="agt_1", claims=claims)))


def test_an_issuer_that_cannot_be_meant_is_not_kept() -> None:
    right = trusted(IssuerKind.GENERIC)
    assert checked(right) is right
    for wrong in (
        trusted(IssuerKind.GENERIC, audience=""),  # OA-15: unset refuses
        trusted(IssuerKind.GENERIC, jwks_uri=None),
        trusted(IssuerKind.GENERIC, jwks="{}"),
        trusted(IssuerKind.GENERIC, bare=True),
        trusted(IssuerKind.GENERIC, issuer="spiffe://acme.com"),
        trusted(IssuerKind.GENERIC, issuer="platform"),
        trusted(IssuerKind.GENERIC, issuer="https://user@platform.example"),
        trusted(IssuerKind.GENERIC, issuer="https://platform.example/?t=1"),
        trusted(IssuerKind.SPIFFE, issuer="https://acme.com"),
        trusted(IssuerKind.SPIFFE, issuer="spiffe://acme.com/path"),
        trusted(IssuerKind.IDP, bare=True, at_token_endpoint=True),
        replace(right, trust=replace(right.trust, rules=right.trust.rules * 101)),
    ):
        with pytest.raises(InvalidRequest):
            checked(wrong)


@pytest.mark.parametrize(
    "text", ["", "spiffe://", "spiffe://acme.com", "spiffe://acme.com/", "spiffe://a:1/x", "spiffe://u@a/x", "x" * 3000]
)
def test_sp_1_what_is_no_spiffe_id_has_no_trust_domain(text: str) -> None:
    assert trust_domain(text) is None
    assert facts_of(IssuerKind.SPIFFE, {"sub": text}) == {}
