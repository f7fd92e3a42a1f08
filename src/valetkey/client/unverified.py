"""What a token says of itself, believed by nobody: good for choosing which id to send, never for deciding anything."""

import json
from base64 import urlsafe_b64decode
from typing import Any

from valetkey.client.errors import InvalidRequest


def unverified_claims(token: str) -> dict[str, Any]:
    """The payload of a compact JWS. Raises `InvalidRequest` for anything else."""
    parts = token.split(".")
    try:
        payload = parts[1] if len(parts) == 3 else ""
        claims = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except ValueError:
        claims = None
    if not isinstance(claims, dict):
        raise InvalidRequest("This is not a token.", hint="A token has three parts with dots between them.")
    return claims
