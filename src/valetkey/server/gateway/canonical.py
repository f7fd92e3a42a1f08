"""The one reading of a request target: what policy judges, and the exact bytes that go upstream.

Responsible for turning method, path and query into a `Target`, or refusing. Ambiguity is refused, never repaired: two
readers who could disagree about a spelling never get to. The bytes are built here from the decoded, judged values, so
nothing the client spelled is forwarded. Refuses to know frameworks, hosts, headers, integrations and what is allowed.

One rule for escapes, in path and query: upper-case hex, valid UTF-8, and only of what some standard encoder escapes
(never a letter, a digit, `-`, `.` or `_`). RFC 3986 sections 2 and 3.3; the WHATWG URL parser leaves what is built here
alone.
"""

import re
import unicodedata
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from valetkey.server.errors import InvalidRequest
from valetkey.server.gateway.lookalikes import why_unclear

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
MAX_TARGET_BYTES: Final = 8192

_UNRESERVED: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
# NOTE: `+` and `;` are encoded in paths: some servers read the first as a space and the second as a parameter.
_PATH_SAFE: Final = frozenset(_UNRESERVED + b"!$&'()*,:=@")
_QUERY_SAFE: Final = frozenset(_UNRESERVED)

_PLAIN_SEGMENT: Final = re.compile(rb"[A-Za-z0-9_~-][A-Za-z0-9._~-]*")
_PLAIN_PAIR: Final = re.compile(rb"([A-Za-z0-9._-]+)=([A-Za-z0-9._~-]*)")
_RAW_SEGMENT: Final = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-F]{2})*")
_RAW_QUERY: Final = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,=:@/?\[\]-]|%[0-9A-F]{2})*")
_NEEDLESS_ESCAPE: Final = re.compile(rb"%(?:2[DE]|3[0-9]|4[1-9A-F]|5[0-9AF]|6[1-9A-F]|7[0-9A])")
_ESCAPE: Final = re.compile(rb"%([0-9A-F]{2})")
_NAME: Final = re.compile(r"[!-$&-~]+(?: [!-$&-~]+)*")  # printable ASCII without `%`
_IGNORED_IN_NAMES: Final = re.compile(r"[^a-z0-9]+")

_CREDENTIAL_NAMES: Final = """
    accesskey accesstoken apikey apisecret apitoken appkey appsecret assertion auth authkey authorization authtoken
    awsaccesskeyid bearer bearertoken clientassertion clientsecret credential credentials hapikey idtoken jobtoken jwt
    oauthtoken passwd password privatetoken pwd refreshtoken secret secretkey sessionid sessiontoken signature
    subscriptionkey token xaccesstoken xamzcredential xamzsecuritytoken xamzsignature xapikey xauthtoken
"""
_OVERRIDE_NAMES: Final = "httpmethod httpmethodoverride methodoverride xhttpmethod xhttpmethodoverride xmethodoverride"

CREDENTIAL_PARAMETERS: Final = frozenset(_CREDENTIAL_NAMES.split())
"""Names under which some API reads a credential from the query, lower-case and without separators."""
METHOD_OVERRIDES: Final = frozenset(_OVERRIDE_NAMES.split())
"""Names under which some framework reads another method, in the same form. `_method` is refused as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What one integration's paths and queries may contain beyond the strict rule."""

    encoded_slash: bool = False
    """`%2F` means `/`: it is judged as a segment boundary and sent as `/`, so only one reading leaves."""

    matrix_params: bool = False
    """A raw `;` may occur in a segment, of which it then is a part for policy."""

    credential_parameters: frozenset[str] = frozenset()
    """Further query parameter names that carry a credential at this API (`key`, …)."""


STRICT: Final = Profile()


@dataclass(frozen=True, slots=True)
class Target:
    """A request target with one reading. `path_bytes` and `query_bytes` are built from the decoded values."""

    method: str
    segments: tuple[str, ...]
    query: tuple[tuple[str, str], ...]
    path_bytes: bytes
    query_bytes: bytes

    @property
    def target_bytes(self) -> bytes:
        """What is written on the request line upstream."""
        return self.path_bytes + b"?" + self.query_bytes if self.query_bytes else self.path_bytes


def canonical(method: str, raw_path: bytes, query: bytes, profile: Profile = STRICT) -> Target:
    """Return the only reading of this target.

    `raw_path` is the undecoded path below the integration's address, beginning with `/`; `query` is what follows the
    first `?`, without it.

    >>> canonical("GET", b"/repos/acme/backend/contents/a%20b.md", b"ref=heads%2Fmain").segments
    ('repos', 'acme', 'backend', 'contents', 'a b.md')

    Raises `InvalidRequest` for whatever two readers could understand differently.
    """
    if method not in METHODS:
        raise InvalidRequest(f"The method must be one of {', '.join(sorted(METHODS))}, in upper case.")
    if len(raw_path) + 1 + len(query) > MAX_TARGET_BYTES:
        raise InvalidRequest(f"The address is longer than {MAX_TARGET_BYTES} bytes.")
    segments = _segments(raw_path, profile)
    pairs = _pairs(query, profile)
    safe = _PATH_SAFE | {0x3B} if profile.matrix_params else _PATH_SAFE
    path_bytes = b"/" + b"/".join(_encoded(segment, safe) for segment in segments)
    query_bytes = b"&".join(_encoded(name, _QUERY_SAFE) + b"=" + _encoded(value, _QUERY_SAFE) for name, value in pairs)
    if len(path_bytes) + 1 + len(query_bytes) > MAX_TARGET_BYTES:
        raise InvalidRequest(f"The address is longer than {MAX_TARGET_BYTES} bytes.")
    return Target(method, segments, pairs, path_bytes, query_bytes)


def asking(target: Target, query: tuple[tuple[str, str], ...]) -> Target:
    """The same target with another query, of names and values that were judged already."""
    query_bytes = b"&".join(_encoded(name, _QUERY_SAFE) + b"=" + _encoded(value, _QUERY_SAFE) for name, value in query)
    return replace(target, query=query, query_bytes=query_bytes)


def _segments(raw_path: bytes, profile: Profile) -> tuple[str, ...]:
    if raw_path == b"/":
        return ()
    if not raw_path.startswith(b"/"):
        raise _refused("The path must begin with `/`.")
    segments: list[str] = []
    for raw in raw_path[1:].split(b"/"):
        if _PLAIN_SEGMENT.fullmatch(raw):
            segments.append(raw.decode("ascii"))
        else:
            segments.extend(_unescaped_segments(raw, profile))
    return tuple(segments)


def _unescaped_segments(raw: bytes, profile: Profile) -> list[str]:
    """Read one raw segment; an encoded slash, where it is allowed, makes it several."""
    if not raw:
        raise _refused("The path has an empty segment or a trailing `/`.")
    if not _RAW_SEGMENT.fullmatch(raw):
        raise _refused("The path has a character or escape that must be written as `%` and upper-case hex.")
    if b"%3B" in raw or (b";" in raw and not profile.matrix_params):
        raise _refused("The path has a `;`, which this API's addresses do not use.")
    for escape, character in ((b"%5C", "a backslash"), (b"%25", "a percent sign"), (b"%00", "a NUL")):
        if escape in raw:
            raise _refused(f"The path hides {character} in an escape.")
    if b"%2F" in raw and not profile.encoded_slash:
        raise _refused("The path has an encoded slash (`%2F`); write `/`.")
    return [_checked_segment(part) for part in raw.split(b"%2F")]


def _checked_segment(raw: bytes) -> str:
    segment = _unescaped(raw)
    name = segment.partition(";")[0]
    # SECURITY: also `. `, ` ..` and `...`: some file systems and servers strip spaces and surplus dots.
    # Guarded by tests/rules/test_canonical.py::test_a_dot_segment_is_refused_however_it_is_dressed
    if all(character in ".\u200c\u200d" or character.isspace() for character in name):  # also when empty
        raise _refused("The path has an empty or dot segment.")
    reason = why_unclear(segment)
    if reason is not None:
        raise _refused(f"The path has {reason}.")
    return segment


def _pairs(query: bytes, profile: Profile) -> tuple[tuple[str, str], ...]:
    if not query:
        return ()
    pairs = tuple(_pair(raw) for raw in query.split(b"&"))
    for name, _ in pairs:
        _check_name(name, profile.credential_parameters)
    return pairs


@lru_cache(maxsize=256)
def _check_name(name: str, further: frozenset[str]) -> None:
    """Refuse a parameter that carries a credential or another method, however it is spelled or nested."""
    spellings = {_bare(part) for part in name.split("[")} | {_bare(name)}
    if not spellings.isdisjoint(CREDENTIAL_PARAMETERS.union(map(_bare, further))):
        sentence = f"The query parameter {name[:40]!r} looks like a credential; credentials go into a header."
        raise InvalidRequest(sentence)
    if not spellings.isdisjoint(METHOD_OVERRIDES) or (name.startswith("_") and "method" in spellings):
        raise InvalidRequest("The query must not override the method.")


def _pair(raw: bytes) -> tuple[str, str]:
    plain = _PLAIN_PAIR.fullmatch(raw)
    if plain:
        return plain[1].decode("ascii"), plain[2].decode("ascii")
    raw_name, _, raw_value = raw.partition(b"=")
    # SECURITY: a raw `;` separates pairs for some servers, so it never passes as part of a value.
    # Guarded by tests/rules/test_canonical.py::test_a_semicolon_does_not_smuggle_a_second_parameter
    if not _RAW_QUERY.fullmatch(raw):
        raise _refused("The query has a character or escape that must be written as `%` and upper-case hex.")
    name, value = (_unescaped(part.replace(b"+", b" ")) for part in (raw_name, raw_value))
    if not _NAME.fullmatch(name):
        raise _refused("A query parameter needs a name of printable ASCII characters.")
    if any(unicodedata.category(character) in {"Cc", "Zl", "Zp"} for character in value):
        raise _refused("The query has a control character.")
    return name, value


def _bare(name: str) -> str:
    return _IGNORED_IN_NAMES.sub("", name.lower())


def _unescaped(raw: bytes) -> str:
    if b"%" in raw:
        if _NEEDLESS_ESCAPE.search(raw):
            raise _refused("A letter, digit, `-`, `.` or `_` must not be escaped.")
        raw = _ESCAPE.sub(_byte, raw)
    try:
        return raw.decode("utf-8")  # strict: overlong forms and surrogates are errors
    except UnicodeDecodeError:
        raise _refused("An escape is not valid UTF-8.") from None


def _byte(escape: re.Match[bytes]) -> bytes:
    return bytes((int(escape[1], 16),))


def _encoded(text: str, safe: frozenset[int]) -> bytes:
    raw = text.encode("utf-8")
    if _PLAIN_SEGMENT.fullmatch(raw):
        return raw
    return b"".join(b"%c" % byte if byte in safe else b"%%%02X" % byte for byte in raw)


def _refused(sentence: str) -> InvalidRequest:
    # SECURITY: no detail that repeats the target: people paste credentials into addresses, and details are kept.
    # Guarded by tests/rules/test_canonical.py::test_a_refusal_never_repeats_the_value_of_a_parameter
    return InvalidRequest(sentence)
