"""Grant text: one spelling, split at the first `:` and the first `@`, and nothing that reads in two ways."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from valetkey.server.delegations.grants import grant_text, parse_grant, parse_grants
from valetkey.server.delegations.model import Grant, Resource
from valetkey.server.errors import InvalidRequest

SCOPES = st.from_regex(r"[a-z][a-z0-9_.:-]{0,12}", fullmatch=True)
SEGMENT = st.from_regex(r"[A-Za-z0-9_#-][A-Za-z0-9_.#-]{0,8}", fullmatch=True).filter(lambda s: s not in (".", ".."))
NAMES = st.lists(SEGMENT, min_size=1, max_size=3).map("/".join)
RESOURCES = st.one_of(st.just("*"), NAMES, NAMES.map(lambda name: name + "/*"))
GRANTS = st.builds(
    lambda integration, connection, scopes, resources: Grant(
        integration=integration,
        connection=connection,
        scopes=frozenset(scopes),
        resources=tuple(Resource(name=name) for name in resources),
    ),
    st.from_regex(r"[a-z][a-z0-9_-]{0,12}", fullmatch=True),
    st.one_of(
        st.just(""), st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,12}", fullmatch=True).filter(lambda t: "@" not in t)
    ),
    st.lists(SCOPES, min_size=1, max_size=3, unique=True),
    st.lists(RESOURCES, min_size=1, max_size=3, unique=True),
)


@given(GRANTS)
@settings(deadline=None)
def test_what_is_written_is_read_back_as_the_same_grant(grant: Grant) -> None:
    assert parse_grant(grant_text(grant)) == grant


@given(st.text(max_size=60))
@settings(deadline=None)
def test_any_text_is_either_one_grant_or_a_typed_refusal(text: str) -> None:
    try:
        grant = parse_grant(text)
    except InvalidRequest:
        return
    assert grant.scopes
    assert grant.resources
    assert parse_grant(grant_text(grant)) == grant


@pytest.mark.parametrize(
    ("text", "integration", "connection", "scopes", "resources"),
    [
        ("github:repo:read@acme-corp/backend", "github", "", {"repo:read"}, ["acme-corp/backend"]),
        ("slack:chat:write@#code-review", "slack", "", {"chat:write"}, ["#code-review"]),
        ("postgres/analytics:read@sales.orders", "postgres", "analytics", {"read"}, ["sales.orders"]),
        ("github:repo:read,issues:write@a/b,c/*", "github", "", {"repo:read", "issues:write"}, ["a/b", "c/*"]),
        ("github:repo:read@*", "github", "", {"repo:read"}, ["*"]),
    ],
)
def test_the_parts_are_found(
    text: str, integration: str, connection: str, scopes: set[str], resources: list[str]
) -> None:
    grant = parse_grant(text)
    assert (grant.integration, grant.connection, grant.scopes) == (integration, connection, frozenset(scopes))
    assert [r.name for r in grant.resources] == resources


@pytest.mark.parametrize(
    "text",
    [
        "",
        "github",
        "github:repo:read",
        "github@acme/backend",
        "github:@acme/backend",
        "github:repo:read@",
        "github:repo:read,@acme/backend",
        "github:repo:read@acme/backend,",
        "github/:repo:read@acme/backend",
        "GitHub:repo:read@acme/backend",
        "github:repo:read@acme/*/backend",
        "github:repo:read@acme/back*",
        "github:repo:read@**",
        "github:repo:read@*/*",
        "github:repo:read@acme/../payroll",
        "github:repo:read@./backend",
        "github:repo:read@/backend",
        "github:repo:read@acme//backend",
        "github:repo:read@acme/backend/",
        "github:repo:read@acme/%62ackend",
        "github:repo:read@acme/backend?x",
        "github:repo:read@acme/backend\n",
        "github:repo:read\n@acme/backend",
        "github:repo:read@acme/bac\u212aend",
        "github:repo:read@acme/backend acme/payroll",
        "github:repo:read@acme/backend\x00",
        "github:*@acme/backend",
        "github:repo:*@acme/backend",
        "github:repo:read,repo:read@acme/backend",
        "github:repo:read@acme/backend,acme/backend",
        " github:repo:read@acme/backend",
    ],
)
def test_a_spelling_with_two_readings_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_grant(text)


def test_oa_22_a_grant_of_half_a_million_characters_is_refused_without_being_repeated() -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_grant("github:" + "a," * 250_000 + "b@acme/backend")
    assert len(refused.value.public) < 400


def test_no_texts_are_no_grants() -> None:
    assert parse_grants([]) == ()
