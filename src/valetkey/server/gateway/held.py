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
from valetkey.server.policy.model import Allow, Authority, Call
from valetkey.server.policy.ruled import looks_back, watching
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
    looking: dict[tuple[str, str, bool], tuple[bool, bool]] = field(default_factory=dict)
    """Of operations by API, id, and whether one needs further scopes: whether rules look back, and are only watched."""
    reached: dict[Hashable, str] = field(default_factory=dict)  # the connection it goes through
    allowed: dict[Hashable, Allow] = field(default_factory=dict)

    def asks_history(self, call: Call, catalogue: Catalogue) -> bool:
        """Whether what was done so far may change what is decided of such calls."""
        return self._looking(call, catalogue)[0]

    def is_watched(self, call: Call, catalogue: Catalogue) -> bool:
        """Whether rules that are only observed may speak of such calls."""
        return self._looking(call, catalogue)[1]

    def _looking(self, call: Call, catalogue: Catalogue) -> tuple[bool, bool]:
        key = (call.integration, call.operation.id, bool(call.scopes_needed))
        found = self.looking.get(key)
        if found is None:
            if len(self.looking) >= _CALLS:
                self.looking.clear()
            seen = looks_back(self.authority, call, catalogue), watching(self.authority, call, catalogue)
            found = self.looking[key] = seen
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
