"""Policies for tests: a layer from its text, and the usual call judged under it."""

from typing import Any

from tests.support import permission as p
from valetkey.server.policy.decide import decide
from valetkey.server.policy.history import NOTHING_YET, History
from valetkey.server.policy.layer import Layer
from valetkey.server.policy.model import Call, Decision
from valetkey.server.policy.versions.model import compiled

GET = ("GET", "/repos/acme-corp/backend/issues")
POST = ("POST", "/repos/acme-corp/backend/issues")
DELETE = ("DELETE", "/repos/acme-corp/backend/issues/comments/7")
HELD = p.grant("github:repo:write@acme-corp/backend")
ALLOW_ALL = '[[rule]]\nid = "all"\neffect = "allow"\n'


def layer(text: str, **facts: Any) -> Layer:
    """The organization's policy of that text."""
    return compiled(text, p.CATALOGUE, id="pol_1", number=1, **facts)


def judged(
    text: str | None,
    call: Call | None = None,
    *,
    own: str | None = None,
    history: History = NOTHING_YET,
    now: float = p.NOW + 1,
    **facts: Any,
) -> Decision:
    """The usual call under a policy, and rules of Alice's own."""
    authority = p.authority(
        HELD,
        policy=None if text is None else layer(text, people={"alice@acme.com": "usr_alice"}),
        own_rules=None if own is None else compiled(own, p.CATALOGUE, id="own_1", is_own=True),
        **facts,
    )
    return decide(call or p.call(*GET), authority, authority.task.grants, p.CATALOGUE, now, history=history)
