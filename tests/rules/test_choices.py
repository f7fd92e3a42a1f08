"""A form on the consent page only ever narrows what was asked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from valetkey.server.delegations.consent import Line
from valetkey.server.delegations.grants import parse_grant
from valetkey.server.delegations.model import Mode, Resource, narrowed
from valetkey.server.errors import ValetkeyError
from valetkey.server.integrations.catalogue import load_catalogue
from valetkey.server.oauth.choices import Limits, chosen, seconds_offered, standing_offered
from valetkey.server.oauth.clients.model import Client, ClientKind, ClientMetadata
from valetkey.server.oauth.form import Form
from valetkey.server.oauth.request import AuthorizationRequest

CATALOGUE = load_catalogue()
CLIENT = Client(id="agt_1", kind=ClientKind.AGENT, name="reviewer", principal=None, metadata=ClientMetadata())
LINES = (
    Line(grant=parse_grant("github:repo:read,issues:write@acme-corp/*")),
    Line(grant=parse_grant("slack:chat:write@general")),
)
REQUEST = AuthorizationRequest(client=CLIENT, lines=LINES, seconds=3_600, share_with=("linter",))
LIMITS = Limits(usual=600, standing=30 * 86_400)


def form(**fields: list[str]) -> Form:
    given_fields = {name.replace("_0", "-0"): tuple(values) for name, values in fields.items()}
    return Form({n: v[0] for n, v in given_fields.items() if len(v) == 1 and v[0]}, given_fields)


def test_what_she_ticked_and_no_more() -> None:
    choice = chosen(
        REQUEST,
        form(line=["0"], scope=["0:repo:read"], resources_0=["acme-corp/backend"], seconds=["600"]),
        CATALOGUE,
        LIMITS,
    )
    assert [g.scopes for g in choice.grants] == [frozenset({"repo:read"})]
    assert choice.grants[0].resources == (Resource(name="acme-corp/backend"),)
    assert (choice.seconds, choice.mode, choice.share_with) == (600, Mode.ATTENDED, ())


words = st.sampled_from(
    [
        "0",
        "1",
        "2",
        "-1",
        "",
        "x",
        "0:repo:read",
        "0:repo:write",
        "0:issues:read",
        "0:issues:write",
        "1:chat:write",
        "9:a",
    ]
)
names = st.sampled_from(
    [
        "acme-corp/backend",
        "acme-corp/*",
        "*",
        "other/backend",
        "acme-corp/../x",
        "acme-corp/a acme-corp/b",
        "",
        "general",
    ]
)


@given(
    st.lists(words, max_size=3),
    st.lists(words, max_size=4),
    st.lists(words, max_size=2),
    st.lists(names, min_size=1, max_size=1),
    st.sampled_from(["600", "3600", "86400", "1", "x"]),
    st.lists(st.sampled_from(["linter", "other"]), max_size=2, unique=True),
)
def test_nobody_can_tick_what_was_not_asked(
    line: list[str], scope: list[str], danger: list[str], resources: list[str], seconds: str, share: list[str]
) -> None:
    sent = form(line=line, scope=scope, danger=danger, resources_0=resources, seconds=[seconds], share=share)
    try:
        choice = chosen(REQUEST, sent, CATALOGUE, LIMITS)
    except ValetkeyError:
        return
    narrowed([line.grant for line in LINES], choice.grants, CATALOGUE)  # raises for anything more
    asked = frozenset().union(*(line.grant.scopes for line in LINES))
    assert all(grant.scopes <= asked for grant in choice.grants)
    assert choice.seconds <= 3_600
    assert set(choice.share_with) <= {"linter"}
    assert choice.mode is Mode.ATTENDED


def test_standing_only_where_it_was_asked_for() -> None:
    sent = form(
        line=["0"],
        scope=["0:repo:read"],
        resources_0=["acme-corp/backend"],
        standing=["1"],
        standing_seconds=["86400"],
        tasks_per_day=["5"],
    )
    with pytest.raises(ValetkeyError):
        chosen(REQUEST, sent, CATALOGUE, LIMITS)
    away = AuthorizationRequest(client=CLIENT, lines=LINES, scopes=frozenset({"offline_access"}))
    choice = chosen(away, sent, CATALOGUE, LIMITS)
    assert (choice.mode, choice.seconds, choice.tasks_per_day) == (Mode.STANDING, 86_400, 5)


@given(st.integers(1, 10**9) | st.none())
def test_no_span_is_longer_than_asked_or_than_allowed(seconds: int | None) -> None:
    asked = AuthorizationRequest(client=CLIENT, lines=LINES, seconds=seconds, scopes=frozenset({"offline_access"}))
    assert max(seconds_offered(asked, LIMITS)) == min(seconds or 600, 86_400)
    assert max(standing_offered(asked, LIMITS)) == min(seconds or LIMITS.standing, LIMITS.standing)
