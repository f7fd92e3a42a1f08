"""Tokens of our own by which AWS lets a role be taken on, so that no access key is kept anywhere.

The layout is an ID token's, for an audience that is AWS's own name and so is no client and no server of ours. `sub`
begins with the organization: the role's trust names it, and no other organization here can take the role on.
Refuses to know what the session may do. Facts: IAM User Guide, "Create a role for OpenID Connect federation", "Pass
session tags in AWS STS"; STS API Reference, `AssumeRoleWithWebIdentity`.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from valetkey.server.clock import Clock
from valetkey.server.ids import new_id
from valetkey.server.integrations.role import TAGS
from valetkey.server.secret import Secret
from valetkey.server.tokens.keys import Keys
from valetkey.server.tokens.mint import prepare
from valetkey.server.tokens.model import Kind

USUAL_AUDIENCE: Final = "sts.amazonaws.com"
# SECURITY: always AWS's own name, with a word of the administrator's at most: a token for it is an ID token for nobody.
# Guarded by tests/attacks/test_web_identity.py::test_no_token_is_signed_for_somebody_else
AUDIENCE: Final = re.compile(r"sts\.amazonaws\.com(?::[A-Za-z0-9._-]{1,200})?")
TOKEN_SECONDS: Final = 300
NOBODY: Final = "nobody"
"""Stands for an organization that never is: a role that trusts it trusts every organization of this server."""


class WebIdentity:
    """One per process."""

    def __init__(self, keys: Keys, issuer: str, clock: Clock) -> None:
        self._keys = keys
        self._issuer = issuer
        self._clock = clock

    async def token(self, audience: str, *, org: str, tags: Mapping[str, str], source: str) -> Secret:
        """A token that says for whom a session is made, and what it is tagged with; for five minutes."""
        claims = claims_of(audience, issuer=self._issuer, org=org, tags=tags, source=source, now=int(self._clock.now()))
        return Secret(prepare(await self._keys.ready("ES256"), Kind.ID, claims).signed())


def claims_of(
    audience: str, *, issuer: str, org: str, tags: Mapping[str, str], source: str, now: int
) -> dict[str, Any]:
    """The claims; `tags` are those of every session. Raises ValueError for an audience that is not AWS.

    >>> said = claims_of("sts.amazonaws.com", issuer="https://v.example", org="org_1", source="usr_1", now=0,
    ...     tags={"valetkey:user": "usr_1", "valetkey:agent": "agt_1", "valetkey:task": "tsk_1"})
    >>> said["sub"], said["https://aws.amazon.com/tags"]["principal_tags"]["valetkey:task"]
    ('org:org_1:user:usr_1:agent:agt_1', ['tsk_1'])
    """
    if AUDIENCE.fullmatch(audience) is None:
        raise ValueError("an audience that is not AWS")
    user, agent, _ = TAGS
    return {
        "iss": issuer,
        "sub": f"org:{org}:user:{tags[user]}:agent:{tags[agent]}",
        "aud": audience,
        "iat": now,
        "exp": now + TOKEN_SECONDS,
        "jti": new_id("tok"),
        "https://aws.amazon.com/tags": {
            "principal_tags": {name: [value] for name, value in tags.items()},
            "transitive_tag_keys": list(tags),
        },
        "https://aws.amazon.com/source_identity": source,
    }
