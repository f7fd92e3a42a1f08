"""The sentence: one function turns a delegation, a task or a token into words. Everything that shows one uses it."""

from collections.abc import Sequence
from datetime import UTC, datetime

from valetkey.server.delegations.model import Catalogue, Grant


def sentence(
    *, chain: Sequence[str], user: str, grants: Sequence[Grant], expires_at: int, now: float, catalogue: Catalogue
) -> str:
    """Say who may do what, where, for how long. `chain` lists the agents' subjects, the acting one first.

    >>> from valetkey.server.delegations.grants import parse_grant
    >>> sentence(chain=["agent:pr-reviewer-v2"], user="user:alice@acme.com", expires_at=581, now=0, catalogue={},
    ...          grants=[parse_grant("github:repo:read@acme-corp/backend")])
    'agent:pr-reviewer-v2, on behalf of user:alice@acme.com, may repo:read on acme-corp/backend at github for 9 m 41 s'
    """
    who = chain[0] + "".join(f", for {parent}" for parent in chain[1:])
    lines = [
        f"{', '.join(sorted(g.scopes))} on {', '.join(_resource(r.name) for r in g.resources)} "
        f"at {_where(g, catalogue)}{_conditions(g)}"
        for g in grants
    ]
    what = "; ".join(lines) if lines else "nothing"
    return f"{who}, on behalf of {user}, may {what} {_how_long(expires_at - int(now))}"


def _resource(name: str) -> str:
    return "everything" if name == "*" else name


def _where(grant: Grant, catalogue: Catalogue) -> str:
    integration = catalogue.get(grant.integration)
    return integration.audience.removeprefix("https://") if integration else grant.integration


def _conditions(grant: Grant) -> str:
    limits = grant.words
    if grant.not_after is not None:
        limits.append(f"not after {datetime.fromtimestamp(grant.not_after, UTC):%Y-%m-%d %H:%M:%S} UTC")
    if grant.ask:
        limits.append("asking before each call")
    return f" ({', '.join(limits)})" if limits else ""


def _how_long(seconds: int) -> str:
    if seconds <= 0:
        return "no longer: it has expired"
    days, rest = divmod(seconds, 86_400)
    hours, rest = divmod(rest, 3_600)
    minutes, left = divmod(rest, 60)
    parts = [f"{n} {unit}" for n, unit in ((days, "d"), (hours, "h"), (minutes, "m"), (left, "s")) if n]
    return "for " + " ".join(parts[:2] if days or hours else parts)
