"""The sentence says all of it: every agent, the user, every scope, every resource, every condition, the time left."""

from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.rules.test_grants import GRANTS
from tests.support import permission as p
from valetkey.server.delegations.model import Grant
from valetkey.server.delegations.sentence import sentence

SECONDS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
conditions = st.tuples(
    st.one_of(st.none(), st.integers(1, 10**6)),
    st.one_of(st.none(), st.integers(p.NOW, p.NOW + 10**7)),
)
lines = st.lists(
    st.builds(
        lambda grant, limits: Grant(
            integration=grant.integration,
            connection=grant.connection,
            scopes=grant.scopes,
            resources=grant.resources,
            max_calls=limits[0],
            not_after=limits[1],
        ),
        GRANTS,
        conditions,
    ),
    max_size=4,
)
agents = st.lists(st.from_regex(r"agent:[a-z0-9][a-z0-9-]{0,10}", fullmatch=True), min_size=1, max_size=4)


def said(chain: list[str], grants: list[Grant], seconds: int) -> str:
    return sentence(
        chain=chain,
        user="user:alice@acme.com",
        grants=grants,
        expires_at=p.NOW + seconds,
        now=p.NOW,
        catalogue=p.CATALOGUE,
    )


@given(agents, lines, st.integers(1, 10**7))
@settings(deadline=None)
def test_the_sentence_hides_nothing(chain: list[str], grants: list[Grant], seconds: int) -> None:
    text = said(chain, grants, seconds)
    who, _, rest = text.partition(", on behalf of ")
    user, _, what = rest.partition(", may ")
    what, _, left = what.rpartition(" for ")
    assert who.split(", for ") == chain
    assert user == "user:alice@acme.com"
    parts = what.split("; ")
    assert len(parts) == max(len(grants), 1)
    for part, grant in zip(parts, grants, strict=False):
        scopes, _, place = part.partition(" on ")
        resources, _, where = place.partition(" at ")
        assert frozenset(scopes.split(", ")) == grant.scopes
        assert resources.split(", ") == ["everything" if r.name == "*" else r.name for r in grant.resources]
        assert where.startswith("api.github.com" if grant.integration == "github" else grant.integration)
        calls = f"at most {grant.max_calls} call{'' if grant.max_calls == 1 else 's'}"
        assert (grant.max_calls is not None) == (calls in where)
        if grant.not_after is not None:
            assert f"{datetime.fromtimestamp(grant.not_after, UTC):%Y-%m-%d %H:%M:%S}" in where
    counted = sum(int(n) * SECONDS[unit] for n, unit in zip(left.split()[::2], left.split()[1::2], strict=True))
    # Rounded down to two units above an hour; never more than what is left, never off by more than an hour a day.
    assert 0 < counted <= seconds
    assert seconds - counted < (3_600 if seconds >= 86_400 else 60 if seconds >= 3_600 else 1)


@given(lines, st.integers(-(10**6), 0))
@settings(deadline=None, max_examples=20)
def test_what_has_ended_says_so(grants: list[Grant], seconds: int) -> None:
    assert said(["agent:a"], grants, seconds).endswith("no longer: it has expired")


def test_nothing_is_called_nothing() -> None:
    assert ", may nothing for 10 m" in said(["agent:a"], [], 600)


def test_it_reads_as_the_product_says() -> None:
    text = said(["agent:pr-reviewer-v2"], [p.grant("github:repo:read@acme-corp/backend")], 581)
    assert text == (
        "agent:pr-reviewer-v2, on behalf of user:alice@acme.com, may repo:read on acme-corp/backend at api.github.com "
        "for 9 m 41 s"
    )
