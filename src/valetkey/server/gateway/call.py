"""What every door does with a call that may go on; a door turns bytes into an `Attempt` and an `Answer` into bytes.

1 to 6. admitted: judged and recorded (`admit`), 7. borrow and inject, 8. send what was judged, 9. hand back the answer
scrubbed, 10. record the outcome. An engine carries out 8 and 9 itself: it is told the headers of 7.
"""

from collections.abc import AsyncIterator
from functools import partial
from typing import Final

from valetkey.server.audit.store import Journal
from valetkey.server.clock import Clock
from valetkey.server.connections.borrow import Borrow, Borrowed
from valetkey.server.connections.reachable import Reachable
from valetkey.server.connections.role_sessions import RoleSession, RoleSessions
from valetkey.server.egress import Egress, Response, Sending
from valetkey.server.errors import UpstreamFailed, ValetkeyError
from valetkey.server.gateway.admit import Admit, Again
from valetkey.server.gateway.allowance import Allowance, over_budget
from valetkey.server.gateway.answer import Answer, answer
from valetkey.server.gateway.came import Attempt
from valetkey.server.gateway.canonical import Target
from valetkey.server.gateway.headers import outgoing
from valetkey.server.gateway.inject import Prepared
from valetkey.server.gateway.outcome import note_outcome
from valetkey.server.gateway.second_try import asked
from valetkey.server.gateway.signed import signed_call
from valetkey.server.gateway.streams import Stream
from valetkey.server.integrations.model import GIT_PREFIX
from valetkey.server.tokens.proofs import Proofs

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})  # RFC 9110 section 9.2.1


class Calls:
    """One per process."""

    def __init__(
        self,
        *,
        admit: Admit,
        journal: Journal,
        proofs: Proofs,
        borrow: Borrow,
        sessions: RoleSessions,
        clock: Clock,
        egress: Egress,
        reachable: Reachable,
        timeout: float,
    ) -> None:
        self._admit = admit
        self._journal = journal
        self._proofs = proofs
        self._borrow = borrow
        self._sessions = sessions
        self._clock = clock
        self._egress = egress
        self._reachable = reachable
        self._timeout = timeout

    async def handle(self, attempt: Attempt, door: Prepared, stream: Stream) -> Answer:
        """Judge one call and carry it out. The caller closes the answer; `stream` lets it be cut."""
        judged = await self._admit(attempt, door, stream, address=door.gateway)
        authority, target, proof = judged.authority, judged.target, judged.proof
        decision_id, connection_id = judged.decision, judged.connection
        finished = partial(note_outcome, self._journal, decision_id, authority.user.org, stream, judged.charge)
        allowance = Allowance(judged.charge.allowance)
        status = 0
        sending: Sending | None = None
        try:
            stream.decided()
            facts = authority.connections[connection_id]
            kept = outgoing(
                attempt.headers,
                agent=authority.agent.name,
                task=authority.task.id,
                credential_headers=door.credential_headers,
            )
            body = attempt.body
            if judged.kept is not None:
                # SECURITY: what was approved is what is sent; nothing of what came now.
                # Guarded by tests/flows/test_approvals.py::test_what_was_kept_is_sent_once_byte_for_byte
                kept, body = list(judged.kept.headers), judged.kept.chunks() if judged.kept.body else None
            elif judged.rewritten is not None:
                kept, body = judged.rewritten.headers(kept), judged.rewritten.chunks()
            if body is not None:
                allowance.must_send(attempt.headers)
                body = allowance.counted(body)
            session: RoleSession | None = None
            if door.integration.role is not None:
                session = await self._sessions.of(facts, authority, door.integration)
            borrowed = await self._borrow.borrow(facts) if session is None else session.api

            async def ask(by: Borrowed) -> Response:
                nonlocal sending, status
                if sending is not None:
                    await sending.close()
                sending = await self._sending(door, target, by, session, kept, body)
                response = await self._reachable.open(sending)
                status = response.status
                if session is not None and status == 403:
                    self._sessions.refused(session)
                return response

            response, borrowed = await asked(
                ask,
                borrowed,
                borrow=self._borrow,
                integration=door.integration,
                facts=facts,
                may_repeat=target.method in _SAFE and body is None,
            )
            assert sending is not None
            answered = await answer(
                response,
                sending,
                door,
                borrowed,
                base_url=facts.base_url,
                path=target.path_bytes.decode(),
                decision_id=decision_id,
                finished=finished,
                allowance=allowance,
            )
            if proof is not None and (nonce := self._proofs.offer(proof)) is not None:
                answered.headers.append((b"dpop-nonce", nonce.encode()))
            return answered
        except BaseException as failed:
            # The sender tells of a body that broke off, not why it did.
            error = over_budget() if allowance.is_over and isinstance(failed, Exception) else failed
            why = "interrupted"
            if isinstance(error, ValetkeyError):
                why = "not_sent" if isinstance(error, UpstreamFailed) and not error.was_sent else error.code
                error.members.setdefault("decision", decision_id)
            finished(status=status, size=0, sent=allowance.sent, ended=why)
            if sending is not None:
                await sending.close()
            await self._admit.asks_person(error, authority, connection_id)
            raise error from failed.__cause__

    async def _sending(
        self,
        door: Prepared,
        target: Target,
        borrowed: Borrowed,
        session: RoleSession | None,
        kept: list[tuple[bytes, bytes]],
        body: AsyncIterator[bytes] | None,
    ) -> Sending:
        """The call with the credential in it; by a role's `session` signed anew, nothing of the client's own left."""
        if (how := door.integration.role) is not None and session is not None:
            call = await signed_call(target, kept, body, session, region=how.region, now=self._clock.now())
            return self._egress.send(
                target.method, borrowed.at(call.target), call.headers, call.body, timeout=self._timeout
            )
        sent = target.target_bytes
        if door.integration.is_git(target.segments):
            borrowed, sent = borrowed.there(), sent.removeprefix(f"/{GIT_PREFIX}".encode())
        headers = [*kept, (borrowed.header, borrowed.value.reveal().encode())]
        return self._egress.send(target.method, borrowed.at(sent), headers, body, timeout=self._timeout)

    async def told(
        self, attempt: Attempt, door: Prepared, stream: Stream, *, address: str, org: str, again: Again
    ) -> list[tuple[bytes, bytes]]:
        """Judge one call that an engine carries out itself: the headers it puts into the request.

        The engine sends on the target it has, so it must be the one that was judged, byte for byte. What becomes of
        the call nobody here sees: its outcome is recorded as `unobserved`. `again` proves the engine under the fence.
        """
        judged = await self._admit(attempt, door, stream, address=address, org=org, again=again, as_it_is=True)
        authority = judged.authority
        finished = partial(note_outcome, self._journal, judged.decision, authority.user.org, stream, judged.charge)
        ended = "interrupted"
        try:
            stream.decided()
            borrowed = await self._borrow.borrow(authority.connections[judged.connection])
            kept = outgoing(
                attempt.headers,
                agent=authority.agent.name,
                task=authority.task.id,
                credential_headers=door.credential_headers,
            )
            ended = "unobserved"
            return [
                (borrowed.header, borrowed.value.reveal().encode()),
                *((name, value) for name, value in kept if name == b"user-agent"),
                (b"x-decision-id", judged.decision.encode()),
            ]
        finally:
            finished(status=0, size=0, sent=0, ended=ended)

    async def settle(self) -> None:
        """Wait until every outcome is written; at shutdown."""
        await self._journal.settle()
