"""Reading a token request: form-encoded, bounded, no parameter twice, exactly one way of client authentication.

RFC 6749 sections 2.3, 3.2; RFC 6750 section 5: nothing is read from the query.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote_plus, unquote_to_bytes

from valetkey.server.errors import InvalidRequest, NotAuthenticated
from valetkey.server.principals.assertion import JWT_SPIFFE
from valetkey.server.principals.authenticate import ASSERTION_TYPE
from valetkey.server.secret import Secret

Headers = Sequence[tuple[bytes, bytes]]

LARGEST_FORM = 64 * 1024
_MOST_PARAMETERS = 64
_REPEATABLE = frozenset({"resource", "audience"})  # RFC 8693 section 2.1, RFC 8707 section 2


@dataclass(frozen=True, slots=True)
class Form:
    """The parameters. Empty values count as absent (RFC 6749 section 3.2). `sender` is whence it came."""

    single: Mapping[str, str]
    repeated: Mapping[str, tuple[str, ...]]
    sender: str = ""

    def get(self, name: str) -> str | None:
        """A parameter, if it was sent."""
        return self.single.get(name)

    def every(self, name: str) -> tuple[str, ...]:
        """All values of a parameter that may be repeated."""
        return self.repeated.get(name, ())

    def must(self, name: str) -> str:
        """A required parameter. Raises `InvalidRequest` naming it."""
        value = self.single.get(name)
        if value is None:
            raise InvalidRequest(f"The parameter {name} is missing.")
        return value


@dataclass(frozen=True, slots=True)
class ClientProof:
    """How the client authenticates: a secret, a signed assertion, or not at all: then it only names itself."""

    client_id: str | None
    secret: Secret | None = None
    assertion: str | None = None
    was_basic: bool = False
    is_spiffe: bool = False


def parse_form(content_type: str, body: bytes, *, repeatable: bool = False, sender: str = "") -> Form:
    """Parse the body. Raises `InvalidRequest` for another type, malformed text, or a repeated parameter.

    `repeatable`: the form is one of our own pages', where boxes share a name: `every` reads them.
    """
    if content_type.split(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise InvalidRequest("The body must be application/x-www-form-urlencoded.")
    try:
        pairs = _pairs(body)
    except ValueError as error:
        raise InvalidRequest("The form cannot be read.", detail=str(error)) from error
    single: dict[str, str] = {}
    repeated: dict[str, tuple[str, ...]] = {}
    for name, value in pairs:
        if "\x00" in value:
            raise InvalidRequest(f"The parameter {name[:40]} holds a NUL.")
        if name in _REPEATABLE or repeatable:
            repeated[name] = (*repeated.get(name, ()), value)
        elif name in single:
            raise InvalidRequest(f"The parameter {name[:40]} occurs twice.")
        elif value:
            single[name] = value
    if repeatable:
        single = {name: values[0] for name, values in repeated.items() if len(values) == 1 and values[0]}
    return Form(single, {name: tuple(v for v in values if v) for name, values in repeated.items()}, sender)


def _pairs(body: bytes) -> list[tuple[str, str]]:
    """Names and values, decoded. Raises `ValueError` for a field without `=`, too many of them, or broken UTF-8."""
    fields = body.split(b"&") if body else []
    if len(fields) > _MOST_PARAMETERS:
        raise ValueError("too many fields")
    pairs = []
    for field in fields:
        name, equals, value = field.partition(b"=")
        if not equals:
            raise ValueError("a field without a value")
        pairs.append((_decoded(name), _decoded(value)))
    return pairs


def _decoded(text: bytes) -> str:
    if b"+" in text:
        text = text.replace(b"+", b" ")
    if b"%" in text:
        # NOTE: the escapes of every URN and address first: neither character can become part of another escape.
        text = unquote_to_bytes(text.replace(b"%3A", b":").replace(b"%2F", b"/"))
    return text.decode("utf-8")


def client_proof(headers: Headers, form: Form) -> ClientProof:
    """The one way the client authenticates. Two ways at once are `InvalidRequest`; no client is `NotAuthenticated`."""
    basic = [value.decode("latin-1") for name, value in headers if name == b"authorization"]
    ways = [bool(basic), form.get("client_secret") is not None, form.get("client_assertion") is not None]
    if sum(ways) > 1 or len(basic) > 1:
        raise InvalidRequest("The client authenticates in more than one way.")
    if basic:
        client_id, secret = _basic(basic[0])
        if form.get("client_id") not in (None, client_id):
            raise InvalidRequest("The client_id differs between header and body.")
        return ClientProof(client_id, secret=Secret(secret), was_basic=True)
    if (assertion := form.get("client_assertion")) is not None:
        kind = form.get("client_assertion_type")
        if kind not in (ASSERTION_TYPE, JWT_SPIFFE):
            raise InvalidRequest("The client_assertion_type is missing or not one this server knows.")
        return ClientProof(form.get("client_id"), assertion=assertion, is_spiffe=kind == JWT_SPIFFE)
    if (posted := form.get("client_secret")) is not None:
        return ClientProof(form.must("client_id"), secret=Secret(posted))
    if (named := form.get("client_id")) is not None:
        return ClientProof(named)
    raise NotAuthenticated("The client did not authenticate.")


def unverified_client(headers: Headers, form: Form) -> str:
    """Which client a request says it is from, or nothing: for counting, never for deciding."""
    for name, value in headers:
        if name == b"authorization":
            try:
                return _basic(value.decode("latin-1"))[0][:200]
            except (InvalidRequest, NotAuthenticated):
                return ""
    return (form.get("client_id") or "")[:200]


def _basic(value: str) -> tuple[str, str]:
    scheme, _, encoded = value.partition(" ")
    if scheme.lower() != "basic":
        raise NotAuthenticated("The client authenticates by Basic, client_secret, or client_assertion.")
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise InvalidRequest("The Basic credential cannot be read.") from error
    client_id, colon, secret = text.partition(":")
    if not colon:
        raise InvalidRequest("The Basic credential cannot be read.")
    return unquote_plus(client_id), unquote_plus(secret)
