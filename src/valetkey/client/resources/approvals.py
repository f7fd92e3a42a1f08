"""Calls that wait for a person, and where people are told."""

from typing import TYPE_CHECKING

from valetkey.client import answers
from valetkey.client.protocol import at, get, post
from valetkey.client.resources.group import Group

if TYPE_CHECKING:
    from typing import Literal


class NoticeAddresses(Group):
    def list(self) -> "list[answers.NoticeAddress]":
        """Where you are told that a call waits for you."""
        found: list[answers.NoticeAddress] = self._call(get("/v1/notice-addresses"))["data"]
        return found

    def test(self, address: str) -> answers.NoticeAddress:
        """Send a notice there that says nothing waits; the answer says how it went."""
        tried: answers.NoticeAddress = self._call(post(at("notice-addresses", address, "test")))
        return tried


class Approvals(Group):
    def list(self) -> answers.Approvals:
        """What waits for you, and what you answered for whole tasks."""
        found: answers.Approvals = self._call(get("/v1/approvals"))
        return found

    def get(self, approval: str) -> answers.Approval:
        """One of them; as its agent, what became of it."""
        found: answers.Approval = self._call(get(at("approvals", approval)))
        return found

    def answer(
        self, approval: str, answer: "Literal['approve', 'approve-like-this', 'deny']", *, message: str = ""
    ) -> answers.Approval:
        """As a person: say yes once, yes until the task ends, or no with a message to the agent."""
        body = {"answer": answer, **({"message": message} if message else {})}
        answered: answers.Approval = self._call(post(at("approvals", approval, "answer"), **body))
        return answered

    def cancel(self, approval: str) -> answers.Approval:
        cancelled: answers.Approval = self._call(post(at("approvals", approval, "cancel")))
        return cancelled

    def end_standing(self, answer: str) -> answers.Approvals:
        """Take back an answer that holds until a task ends."""
        left: answers.Approvals = self._call(post(at("standing-answers", answer, "end")))
        return left
