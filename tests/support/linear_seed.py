"""Acme as npm `emulate` is given it for Linear: two teams, 123 tickets of one, one of the other; a canary first."""

from typing import Any

TOKEN, CANARY = "lin_oauth_aliceStandIn00000000000000", "lin_oauth_canaryStandIn0000000000000"
STATES = [{"name": name, "type": kind} for name, kind in (("Todo", "unstarted"), ("In Review", "started"))]
SEED: dict[str, Any] = {
    "linear": {
        "organization": {"name": "Acme", "url_key": "acme"},
        "users": [
            {"name": "Nobody At All", "email": "canary@acme.com", "admin": False},
            {"name": "Alice", "email": "alice@acme.com", "admin": True},
        ],
        "teams": [
            {"key": "LIN", "name": "Line", "states": STATES},
            {"key": "OPS", "name": "Operations", "states": STATES},
        ],
        "issues": [{"team": "LIN", "title": f"Ticket {n}", "state": "Todo"} for n in range(1, 124)]
        + [{"team": "OPS", "title": "Salaries", "state": "Todo"}],
        "tokens": [
            {"token": CANARY, "type": "personal", "user": "canary@acme.com", "scopes": []},
            {"token": TOKEN, "type": "oauth_access", "user": "alice@acme.com", "scopes": ["read", "write"]},
        ],
        "strict_scopes": True,
    }
}
