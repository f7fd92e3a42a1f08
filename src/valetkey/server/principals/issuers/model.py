"""A trusted issuer, and when its claims mean one of our agents. Pure: exact comparison of parsed facts, never patterns.

draft-ietf-oauth-spiffe-client-auth, RFC 7523 section 3; the claims of Kubernetes service-account tokens and of GitHub's
workflow tokens.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from valetkey.server.errors import InvalidRequest

_ACCOUNT: Final = re.compile(
    r"system:serviceaccount:([a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?):([a-z0-9][a-z0-9.-]{0,252})"
)
_SPIFFE: Final = re.compile(r"spiffe://([a-z0-9._-]{1,255})((?:/[A-Za-z0-9._-]+)+)")
_DOMAIN: Final = re.compile(r"spiffe://[a-z0-9._-]{1,255}")
LONGEST_SECONDS: Final = 3_700  # what a platform writes for a projected token of one hour
MOST_RULES: Final = 100
LONGEST_VALUE: Final = 2_048


class IssuerKind(StrEnum):
    KUBERNETES = "kubernetes"
    GITHUB = "github"
    SPIFFE = "spiffe"
    GENERIC = "generic"
    IDP = "idp"  # vouches for people: its assertions are ID-JAGs, and no rule makes an agent of them

    @property
    def renews_a_file(self) -> bool:
        """Whether a workload presents one token again and again until the platform replaces it."""
        return self in (IssuerKind.KUBERNETES, IssuerKind.SPIFFE)


IDENTIFYING: Final[Mapping[IssuerKind, tuple[frozenset[str], ...]]] = {
    IssuerKind.KUBERNETES: (frozenset({"sub"}), frozenset({"namespace", "serviceaccount"})),
    IssuerKind.GITHUB: (frozenset({"sub"}), frozenset({"repository"}), frozenset({"repository_id"})),
    IssuerKind.SPIFFE: (frozenset({"sub"}),),
    IssuerKind.GENERIC: (frozenset({"sub"}),),
}
"""Which facts a rule has to name at least: without them it would mean everybody the platform knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Whoever these facts are true of, all of them, is this agent."""

    agent: str
    claims: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What is believed of an issuer. `tenant` are claims every assertion has to carry: one issuer, many customers.

    `at_token_endpoint`: its assertions may name the token endpoint as their audience, as some profiles still want.
    """

    audience: str
    at_token_endpoint: bool = False
    tenant: Mapping[str, str] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedIssuer:
    """`issuer` is what stands in `iss`; for SPIFFE the trust domain, `spiffe://…`. Keys: at an address, or pasted."""

    id: str
    org: str
    issuer: str
    kind: IssuerKind
    jwks_uri: str | None
    jwks: str | None
    trust: Trust
    created_by: str
    created_at: int


def facts_of(kind: IssuerKind, claims: Mapping[str, object]) -> Mapping[str, str]:
    """What verified claims say about a workload, in parts; nothing when its name is not in the platform's form."""
    said = {name: value for name, value in claims.items() if isinstance(value, str)}
    subject = said.get("sub", "")
    match kind:
        case IssuerKind.KUBERNETES:
            account = _ACCOUNT.fullmatch(subject)
            return {"sub": subject, "namespace": account[1], "serviceaccount": account[2]} if account else {}
        case IssuerKind.SPIFFE:
            return {"sub": subject} if trust_domain(subject) is not None else {}
        case IssuerKind.GITHUB | IssuerKind.GENERIC:
            return said
        case IssuerKind.IDP:
            return {}


def trust_domain(spiffe_id: str) -> str | None:
    """The trust domain of a SPIFFE id, as `spiffe://…`; None for what is not one.

    >>> trust_domain("spiffe://acme.com/ns/ci/sa/reviewer"), trust_domain("spiffe://acme.com/a/../b")
    ('spiffe://acme.com', None)
    """
    found = _SPIFFE.fullmatch(spiffe_id) if len(spiffe_id) <= LONGEST_VALUE else None
    if found is None or any(part in (".", "..") for part in found[2].split("/")):
        return None
    return f"spiffe://{found[1]}"


def is_meant(issuer: TrustedIssuer, agent: str, claims: Mapping[str, object]) -> bool:
    """Whether some rule makes this workload that agent."""
    facts = facts_of(issuer.kind, claims)
    # SECURITY: `all` of nothing is true: a rule without facts means nobody.
    # Guarded by tests/rules/test_trusted_issuers.py::test_a_rule_without_facts_means_nobody
    return any(
        rule.agent == agent and bool(rule.claims) and all(facts.get(n) == v for n, v in rule.claims.items())
        for rule in issuer.trust.rules
    )


def checked(issuer: TrustedIssuer) -> TrustedIssuer:
    """The same, when it can be meant. Raises `InvalidRequest`."""
    if not issuer.trust.audience:
        raise InvalidRequest("A trusted issuer names the audience its assertions are for.")
    if (issuer.jwks_uri is None) == (issuer.jwks is None):
        raise InvalidRequest("A trusted issuer has either jwks_uri or jwks.")
    is_spiffe = issuer.kind is IssuerKind.SPIFFE
    if (_DOMAIN.fullmatch(issuer.issuer) is None) if is_spiffe else not _is_issuer(issuer.issuer):
        form = "spiffe://TRUST-DOMAIN" if is_spiffe else "https://HOST[/PATH]"
        raise InvalidRequest(f"The issuer of kind {issuer.kind.value} is written {form}.")
    if len(issuer.trust.rules) > MOST_RULES:
        raise InvalidRequest(f"A trusted issuer has at most {MOST_RULES} rules.")
    if issuer.kind is IssuerKind.IDP:
        if issuer.trust.rules:
            raise InvalidRequest("An identity provider vouches for people; a rule makes no agent of them.")
        if issuer.trust.at_token_endpoint:
            raise InvalidRequest("The assertions of an identity provider name this issuer as their audience.")
        return issuer
    if not issuer.trust.rules:
        raise InvalidRequest("Say which claims mean which agent.", hint="Add at least one rule.")
    for rule in issuer.trust.rules:
        _check_rule(issuer.kind, rule)
    return issuer


def _check_rule(kind: IssuerKind, rule: Rule) -> None:
    named = rule.claims.keys()
    if not any(least <= named for least in IDENTIFYING[kind]):
        wanted = " or ".join(" and ".join(sorted(least)) for least in IDENTIFYING[kind])
        raise InvalidRequest(f"A rule of kind {kind.value} names at least {wanted}.")
    known = {name for least in IDENTIFYING[kind] for name in least}
    if kind in (IssuerKind.KUBERNETES, IssuerKind.SPIFFE) and not named <= known:
        raise InvalidRequest(f"A rule of kind {kind.value} knows {', '.join(sorted(known))}.")
    for name, value in rule.claims.items():
        if not value or len(value) > LONGEST_VALUE or not value.isprintable() or "*" in value:
            raise InvalidRequest(f"The value of {name[:80]} is compared exactly: no wildcard, nothing empty.")
    if kind is IssuerKind.SPIFFE and trust_domain(rule.claims["sub"]) is None:
        raise InvalidRequest("A SPIFFE id is written spiffe://TRUST-DOMAIN/PATH.")
    if kind is IssuerKind.KUBERNETES and "sub" in named and _ACCOUNT.fullmatch(rule.claims["sub"]) is None:
        raise InvalidRequest("A service account is written system:serviceaccount:NAMESPACE:NAME.")


def _is_issuer(text: str) -> bool:
    scheme, _, rest = text.partition("://")
    plain = text.isascii() and text.isprintable() and not set(text) & set(' ?#@\\"')
    return scheme in ("https", "http") and bool(rest) and plain and len(text) <= 255
