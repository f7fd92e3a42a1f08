"""The decision door for engines that ask by gRPC: `envoy.service.auth.v3.Authorization/Check`, on a socket of its own.

The same judgement and the same record as at the HTTP decision door. HTTP/2 is grpcio's business (the extra
`valetkey[grpc]`, imported when the door is turned on and not before). Whoever shows no engine's secret is told what a
server says that has no such method.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from valetkey.server.errors import InvalidRequest, NotFound, Unavailable
from valetkey.server.gateway.came import Attempt
from valetkey.server.gateway.deciding import Deciding
from valetkey.server.gateway.engine import NOT_THE_CALLS, SECRET_HEADER
from valetkey.server.gateway.errors import refusal
from valetkey.server.gateway.ext_authz import METHOD, SERVICE, Headers, allowed, denied, question
from valetkey.server.gateway.header_names import is_dropped_from_calls
from valetkey.server.gateway.inject import Prepared
from valetkey.server.ids import new_id
from valetkey.server.problems import log_bug

MAX_QUESTION_BYTES: Final = 128 * 1024
MAX_METADATA_BYTES: Final = 16 * 1024
MAX_UNDER_WAY: Final = 2_000
GRACE_SECONDS: Final = 5.0
_NO_METHOD: Final = "Method not found!"  # as grpcio says it of what is not there
_STAYS: Final = frozenset({b"host", b"connection", b"te", b"transfer-encoding", b"upgrade", b"expect"})  # of framing


class GrpcDecisions:
    """The door behind its port on loopback, for the length of an `async with` block. `port=0` takes a free one."""

    def __init__(self, deciding: Deciding, is_sealed: Callable[[], bool], *, port: int = 0) -> None:
        self._deciding = deciding
        self._is_sealed = is_sealed
        self.port = port

    async def __aenter__(self) -> "GrpcDecisions":
        try:
            import grpc
            import grpc.aio
        except ImportError as error:
            raise InvalidRequest(
                "decision_grpc_port is set, but grpcio is not installed.", hint="pip install 'valetkey[grpc]'"
            ) from error
        self._grpc = grpc
        self._server = grpc.aio.server(
            maximum_concurrent_rpcs=MAX_UNDER_WAY,
            options=[
                ("grpc.max_receive_message_length", MAX_QUESTION_BYTES),
                ("grpc.max_metadata_size", MAX_METADATA_BYTES),
                ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
                ("grpc.so_reuseport", 0),  # a port that somebody else may share answers for us
            ],
        )
        check = grpc.unary_unary_rpc_method_handler(self._check)  # bytes in, bytes out
        self._server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, {METHOD: check})])
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._server.stop(GRACE_SECONDS)

    async def _check(self, data: bytes, context: Any) -> bytes:
        shown = [
            value.encode("latin-1") if isinstance(value, str) else value
            for name, value in context.invocation_metadata() or ()
            if name.encode() == SECRET_HEADER
        ]
        asked: Headers = []
        with self._deciding.entered() as stream:
            try:
                if self._is_sealed():
                    raise Unavailable("This server is sealed: its key service does not answer.", retry_after=60)
                proven = engine, door, _ = await self._deciding.proven(shown)
                method, target, headers = question(data)
                asked = headers
                path, _, query = target.partition(b"?")
                if target.endswith(b"?"):
                    raise InvalidRequest("The address ends with an empty query.")
                attempt = Attempt(
                    method=method,
                    raw_path=engine.below(path),
                    query=query,
                    headers=[(name, value) for name, value in headers if name not in NOT_THE_CALLS],
                    body=None,
                )
                told = await self._deciding.told(attempt, stream, *proven)
                drop = _dropped(headers, door, {name for name, _ in told})
                return allowed(told, drop=drop, to_client=(b"x-decision-id",))
            except NotFound:
                # SECURITY: no engine, or none any more once it was decided: nothing was opened, and the answer is
                # everybody's. Guarded by tests/attacks/test_engine_grpc.py::test_whoever_is_no_engine_finds_no_method
                await context.abort(self._grpc.StatusCode.UNIMPLEMENTED, _NO_METHOD)
                raise
            except Exception as error:
                return _refused(error, asked)


def _dropped(headers: Headers, door: Prepared, told: set[bytes]) -> Sequence[bytes]:
    """The client's headers that must not reach the API: what the gateway would not have sent on either."""
    names = {name for name, _ in headers} - told - _STAYS
    dashed = {name: name.replace(b"_", b"-") for name in names}
    return sorted(n for n, d in dashed.items() if d in door.credential_headers or is_dropped_from_calls(d))


def _refused(error: Exception, asked: Headers) -> bytes:
    request_id = new_id("aud")
    status, headers, document = refusal(error, request_id=request_id, asked=asked)
    if status == 500:
        log_bug(error, request_id)
    headers.append((b"x-valetkey-code", str(document["code"]).encode()))
    return denied(status, headers, msgspec.json.encode(document))
