"""What a token holds under its task, and which calls were found allowed by it: worked out once, not for every call.

Good for one authority object, which is replaced when anything in it changes, and until something in it ends by itself.
Only what is allowed is remembered; counters are never part of it.
"""

from collections.abc import Hashable
from dataclasses import dataclass, field

from valetkey.server.delegations.model import Catalogue, Grant, narrowed
from valetkey.server.errors import Denied
from valetkey.server.memory.model import Spans
from valetkey.server.policy.decide import next_end
from valetkey.server.policy.model import Allow, Authority
from valetkey.server.policy.ruled import looks_back
from valetkey.server.tokens.model import Delegated

_TOKENS = 8_192
_CALLS = 256  # for each token


@dataclass(eq=False, slots=True)
class Held:
    """One token under one authority. Calls are known by what `decide` sees of them: `Call.judged_by`."""

    authority: Authority
    grants: tuple[Grant, ...]  # the token's lines under its task's bindings
    good_until: float  # before that no judgement changes by the passing of time
    spans: Spans
    looks_back: dict[str, bool] = field(default_factory=dict)  # by the API that is called
    reached: dict[Hashable, str] = field(default_factory=dict)  # the connection it goes through
    allowed: dict[Hashable, Allow] = field(default_factory=dict)

    def asks_history(self, integration: str) -> bool:
        """Whether what was done so far may change what is decided of calls to this API."""
        found = self.looks_back.get(integration)
        if found is None:
            found = self.looks_back[integration] = looks_back(self.authority, integration)
        return found

    def allow(self, judged_by: Hashable, decision: Allow) -> None:
        """Remember that such a call is allowed."""
        if len(self.allowed) >= _CALLS:
            self.allowed.clear()
        self.allowed[judged_by] = decision

    def reach(self, judged_by: Hashable, connection: str) -> None:
        """Remember the connection such a call goes through."""
        if len(self.reached) >= _CALLS:
            self.reached.clear()
        self.reached[judged_by] = connection


class Holdings:
    """One per process."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._known: dict[str, Held] = {}

    def of(self, token: Delegated, authority: Authority, now: float) -> Held:
        """What the token holds now. It has names; its task knows the things."""
        known = self._known.get(token.jti)
        if known is not None and known.authority is authority and now < known.good_until:
            return known
        try:
            grants = narrowed(authority.task.grants, token.grants, self._catalogue)
        except Denied:
            grants = ()
        if len(self._known) >= _TOKENS:
            self._known.clear()
        self._known[token.jti] = held = Held(authority, grants, next_end(authority, grants, now), Spans.of(authority))
        return held
