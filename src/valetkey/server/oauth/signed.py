"""Signed requests (RFC 9101): the `request` parameter, by value. Only what is signed counts.

A request_uri that is an address is never fetched (section 10.4); one that we gave out is the pushed-request endpoint's.
"""

import msgspec

from valetkey.server.clock import Clock
from valetkey.server.errors import InvalidRequest
from valetkey.server.oauth.clients.model import Client
from valetkey.server.oauth.form import Form
from valetkey.verify import jws
from valetkey.verify.errors import InvalidKey, InvalidToken
from valetkey.verify.json import MalformedJson, parse_object
from valetkey.verify.keys import parse_jwks

LONGEST_SECONDS = 600
TYPES = frozenset({"oauth-authz-req+jwt", "JWT"})
_OF_THE_JWT = frozenset({"iss", "aud", "exp", "nbf", "iat", "jti", "sub"})


class RequestObjects:
    """One per process."""

    def __init__(self, clock: Clock, issuer: str) -> None:
        self._clock = clock
        self._issuer = issuer

    def resolved(self, form: Form, client: Client) -> Form:
        """The parameters that count: the signed ones where there is a request object, else those of the form."""
        signed = form.get("request")
        if signed is None:
            if client.metadata.must_sign:
                raise InvalidRequest("This client has to sign its requests.", reason="request_object")
            return form
        claims = self._verified(signed, client)
        # SECURITY: section 6.3: what stands outside is not merged in, or a front-end could add to what was signed.
        # Guarded by tests/flows/test_signed_requests.py::test_jr_01_only_what_is_signed_counts
        return _as_form(claims)

    def _verified(self, signed: str, client: Client) -> dict[str, object]:
        try:
            keys = parse_jwks(client.metadata.jwks.encode()) if client.metadata.jwks else {}
            header, payload = jws.verified_payload(signed, keys=keys, typ=None)
            if header.typ not in TYPES:
                raise ValueError("the typ is another kind of token's")
            claims = parse_object(payload)
            if type(claims.get("exp")) is not int:
                raise ValueError("exp is missing or not an integer")
            jws.check_claims(
                claims,
                issuer=client.id,
                audience=self._issuer,
                now=self._clock.now(),
                leeway=10,
                max_lifetime=LONGEST_SECONDS,
            )
        except (InvalidToken, InvalidKey, MalformedJson, ValueError) as error:
            raise InvalidRequest(
                "The signed request is not valid.",
                hint="Sign it with a registered key: typ, iss, aud (this issuer), and an exp within ten minutes.",
                detail=f"request object: {error}",
                reason="request_object",
            ) from error
        if claims.get("client_id") != client.id or "request" in claims or "request_uri" in claims:
            raise InvalidRequest("The signed request is another client's, or holds another.", reason="request_object")
        return claims


def _as_form(claims: dict[str, object]) -> Form:
    single: dict[str, str] = {}
    repeated: dict[str, tuple[str, ...]] = {}
    for name, value in claims.items():
        if name in _OF_THE_JWT:
            continue
        if name == "resource":
            values = value if isinstance(value, list) else [value]
            if not all(isinstance(v, str) for v in values):
                raise InvalidRequest("A resource of the signed request is not text.", reason="request_object")
            repeated[name] = tuple(str(v) for v in values)
        elif name == "authorization_details" and isinstance(value, list):
            single[name] = msgspec.json.encode(value).decode()
        elif type(value) is int:
            single[name] = str(value)
        elif isinstance(value, str) and "\x00" not in value:
            single.update({name: value} if value else {})
        elif name in ("claims", "client_metadata"):
            continue
        else:
            raise InvalidRequest("A parameter of the signed request is not text.", reason="request_object")
    return Form(single, repeated)
