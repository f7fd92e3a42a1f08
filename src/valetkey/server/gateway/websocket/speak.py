"""What the gateway does with a WebSocket that may be opened: the same numbered steps as for any other call.

1 to 6. admitted: judged and recorded (`admit`), 7. borrow and inject, 8. open it there, 9. relay what is said, scrubbed
on its way down, 10. record the outcome. Nothing that is said is recorded or logged.
"""

import base64
import hashlib
from collections.abc import Sequence
from functools import partial
from typing import Final

from websockets.protocol import State
from websockets.server import ServerProtocol

from valetkey.server.audit.store import Journal
from valetkey.server.clock import Clock
from valetkey.server.connections.borrow import Borrow, Borrowed
from valetkey.server.connections.reachable import Reachable
from valetkey.server.egress import Egress
from valetkey.server.egress.websocket import MOST_BYTES, SILENT, Dialled, dial
from valetkey.server.errors import UpstreamFailed, ValetkeyError
from valetkey.server.framing import subprotocols
from valetkey.server.gateway.admit import Admit
from valetkey.server.gateway.allowance import Allowance
from valetkey.server.gateway.came import Attempt, Headers
from valetkey.server.gateway.canonical import Target
from valetkey.server.gateway.headers import outgoing
from valetkey.server.gateway.inject import Prepared
from valetkey.server.gateway.outcome import note_outcome
from valetkey.server.gateway.second_try import asked
from valetkey.server.gateway.streams import Stream
from valetkey.server.gateway.websocket.relay import IDLE_SECONDS, Relay
from valetkey.server.gateway.websocket.side import Side
from valetkey.server.tokens.proofs import Proofs
from valetkey.server.upgraded import Upgraded

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
_OPENED: Final = 101


class Speaking:
    """One per process."""

    def __init__(
        self,
        *,
        admit: Admit,
        journal: Journal,
        proofs: Proofs,
        borrow: Borrow,
        egress: Egress,
        reachable: Reachable,
        timeout: float,
        clock: Clock,
    ) -> None:
        self._admit = admit
        self._journal = journal
        self._proofs = proofs
        self._borrow = borrow
        self._egress = egress
        self._reachable = reachable
        self._timeout = timeout
        self._clock = clock

    async def open(self, attempt: Attempt, door: Prepared, stream: Stream, client: Upgraded) -> None:
        """Judge one handshake, open it at the API, and relay until it ends. Raises the refusal before it is opened."""
        judged = await self._admit(attempt, door, stream, address=door.gateway)
        authority, connection = judged.authority, judged.connection
        finished = partial(note_outcome, self._journal, judged.decision, authority.user.org, stream, judged.charge)
        allowance = Allowance(judged.charge.allowance)
        status, ended = 0, "interrupted"
        api: Dialled | None = None
        relay: Relay | None = None
        try:
            stream.decided()
            facts = authority.connections[connection]
            kept = outgoing(
                attempt.headers,
                agent=authority.agent.name,
                task=authority.task.id,
                credential_headers=door.credential_headers,
            )
            offered = [name.decode("ascii") for name in subprotocols(attempt.headers)]

            async def ask(by: Borrowed) -> Dialled:
                nonlocal status
                dialled = await self._dialled(judged.target, by, kept, offered)
                status = dialled.status
                return dialled

            api, borrowed = await asked(
                ask,
                await self._borrow.borrow(facts),
                borrow=self._borrow,
                integration=door.integration,
                facts=facts,
                may_repeat=True,  # nothing was said yet
            )
            if status != _OPENED:
                raise UpstreamFailed(
                    hint=f"It answered {status} instead of opening a WebSocket: look whether the address and its "
                    "parameters are what the API takes."
                )
            stream.go_on()
            heard = partial(stream.heard, self._clock.monotonic, seconds=IDLE_SECONDS)
            headers = [(b"x-decision-id", judged.decision.encode())]
            if judged.proof is not None and (nonce := self._proofs.offer(judged.proof)) is not None:
                headers.append((b"dpop-nonce", nonce.encode()))
            client.begin()
            client.write(_accepted(attempt.headers, api.protocol.subprotocol, headers))
            relay = Relay(
                Side(client, ServerProtocol(state=State.OPEN, max_size=MOST_BYTES, logger=SILENT), heard=heard),
                Side(api, api.protocol, api.early, heard=heard),
                scrubber=door.scrubber(borrowed),
                allowance=allowance,
                stream=stream,
                leaving=client.leaving,
            )
            heard()
            ended = await relay.run()
        except BaseException as error:
            if isinstance(error, ValetkeyError):
                ended = "not_sent" if isinstance(error, UpstreamFailed) and not error.was_sent else error.code
                error.members.setdefault("decision", judged.decision)
            await self._admit.asks_person(error, authority, connection)
            raise
        finally:
            if api is not None:
                api.abort()
            size = 0 if relay is None else relay.size
            finished(status=status, size=size, sent=allowance.sent, ended=ended)

    async def _dialled(self, target: Target, borrowed: Borrowed, kept: Headers, offered: Sequence[str]) -> Dialled:
        """Ask the API for it, with the credential, unless it has not answered for some time."""
        url = borrowed.at(target.target_bytes)
        headers = [*kept, (borrowed.header, borrowed.value.reveal().encode())]
        headers = [(name, value) for name, value in headers if name != b"accept-encoding"]
        work = partial(dial, self._egress, url, headers, subprotocols=offered, timeout=self._timeout)
        return await self._reachable.ask(url.place, work)


def _accepted(asked: Headers, subprotocol: str | None, more: Headers) -> bytes:
    """The answer to a handshake (RFC 6455 section 4.2.2). Nothing of what the API answered but its subprotocol."""
    key = next(value for name, value in asked if name == b"sec-websocket-key")
    headers = [
        (b"upgrade", b"websocket"),
        (b"connection", b"Upgrade"),
        (b"sec-websocket-accept", base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())),
        *([(b"sec-websocket-protocol", subprotocol.encode("ascii"))] if subprotocol else []),
        *more,
    ]
    lines = [b"HTTP/1.1 101 Switching Protocols", *(name + b": " + value for name, value in headers), b"", b""]
    return b"\r\n".join(lines)
