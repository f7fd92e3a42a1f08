"""The question and the answer of Envoy's external authorization over gRPC, as far as a decision needs them. Pure.

Field numbers as published at envoyproxy.io under api-v3: service/auth/v3/external_auth.proto and
attribute_context.proto, config/core/v3/base.proto (HeaderMap, HeaderValue, HeaderValueOption),
type/v3/http_status.proto; and google.rpc.Status.
Whatever else a question holds is skipped. Refuses to know engines, policy and sockets.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from valetkey.server.errors import InvalidRequest
from valetkey.server.gateway.protobuf import Malformed, message, messages, read, write

Headers = list[tuple[bytes, bytes]]

SERVICE: Final = "envoy.service.auth.v3.Authorization"
METHOD: Final = "Check"

# CheckRequest.attributes · AttributeContext.request · Request.http
_ATTRIBUTES, _REQUEST, _HTTP = 1, 4, 2
# AttributeContext.HttpRequest
_HTTP_METHOD, _HTTP_HEADERS, _HTTP_PATH, _HTTP_QUERY, _HTTP_FRAGMENT, _HTTP_HEADER_MAP = 2, 3, 4, 7, 8, 13
# HeaderMap.headers · HeaderValue
_MAP_HEADERS, _KEY, _VALUE, _RAW_VALUE = 1, 1, 2, 3
# CheckResponse · google.rpc.Status.code
_STATUS, _DENIED, _OK, _CODE = 1, 2, 3, 1
# OkHttpResponse · DeniedHttpResponse · HttpStatus.code
_OK_HEADERS, _OK_REMOVE, _OK_TO_CLIENT = 2, 5, 6
_DENIED_STATUS, _DENIED_HEADERS, _DENIED_BODY, _HTTP_CODE = 1, 2, 3, 1
# HeaderValueOption: header, append_action = OVERWRITE_IF_EXISTS_OR_ADD
_OPTION_HEADER, _OPTION_ACTION, _OVERWRITE = 1, 3, 2

_RPC: Final = {400: 3, 401: 16, 403: 7, 404: 5, 409: 10, 429: 8, 502: 14, 503: 14}
_RPC_OTHER: Final = 13
_CONFIGURE: Final = "Take deploy/envoy-grpc.yaml: it sets encode_raw_headers and lets :method and :path through."


class Question(NamedTuple):
    """The call an engine asks about, by the bytes it will send."""

    method: str
    target: bytes
    headers: Headers


def question(data: bytes) -> Question:
    """Read a `CheckRequest`. Raises `InvalidRequest` for one that could be read in two ways."""
    try:
        http = read(message(read(message(read(message(read(data), _ATTRIBUTES)), _REQUEST)), _HTTP))
        pairs = [_pair(one) for one in messages(read(message(http, _HTTP_HEADER_MAP)), _MAP_HEADERS)]
        method, path = message(http, _HTTP_METHOD), message(http, _HTTP_PATH)
        other = http.get(_HTTP_HEADERS) or message(http, _HTTP_QUERY) or message(http, _HTTP_FRAGMENT)
    except Malformed as error:
        raise InvalidRequest("The question is not a CheckRequest.", detail=str(error)) from error
    # SECURITY: `headers` joins repeated ones by a comma and `path` has other characters where it is no UTF-8; what is
    # judged must be the bytes that are sent, so the raw header map counts, and everything else must agree with it.
    # Guarded by tests/attacks/test_engine_grpc.py::test_a_question_in_two_readings_is_refused
    methods, paths = _all(pairs, b":method"), _all(pairs, b":path")
    if other or len(methods) != 1 or len(paths) != 1:
        raise InvalidRequest("The engine did not name the call in exactly one way.", hint=_CONFIGURE)
    if methods[0] != method or paths[0] != path:
        raise InvalidRequest("The call is named twice, differently.")
    headers = [(name, value) for name, value in pairs if not name.startswith(b":")]
    return Question(method.decode("latin-1"), path, headers)


def allowed(told: Iterable[tuple[bytes, bytes]], *, drop: Iterable[bytes], to_client: Sequence[bytes]) -> bytes:
    """A `CheckResponse` that lets the call pass with these headers in place of the client's own."""
    ok = b""
    for name, value in told:
        ok += write(_OK_TO_CLIENT if name in to_client else _OK_HEADERS, _option(name, value))
    for name in drop:
        ok += write(_OK_REMOVE, name)
    return write(_STATUS, write(_CODE, 0)) + write(_OK, ok)


def denied(status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> bytes:
    """A `CheckResponse` that refuses the call, and what the client is told."""
    # SECURITY: a status that is left out is 0, and 0 lets the call pass.
    # Guarded by tests/rules/test_ext_authz.py::test_no_refusal_reads_as_a_permission
    code = write(_STATUS, write(_CODE, _RPC.get(status, _RPC_OTHER)))
    told = write(_DENIED_STATUS, write(_HTTP_CODE, status))
    for name, value in headers:
        told += write(_DENIED_HEADERS, _option(name, value))
    return code + write(_DENIED, told + write(_DENIED_BODY, body))


def _pair(data: bytes) -> tuple[bytes, bytes]:
    fields = read(data)
    text, raw = message(fields, _VALUE), message(fields, _RAW_VALUE)
    if text and raw:
        raise Malformed("a header has two values")
    return message(fields, _KEY).lower(), raw or text


def _all(pairs: Headers, name: bytes) -> list[bytes]:
    return [value for key, value in pairs if key == name]


def _option(name: bytes, value: bytes) -> bytes:
    return write(_OPTION_HEADER, write(_KEY, name) + write(_VALUE, value)) + write(_OPTION_ACTION, _OVERWRITE)
