"""The audit trail and the keys."""

from collections.abc import Iterator
from typing import Any

from valetkey.client import answers
from valetkey.client.protocol import at, get, post
from valetkey.client.resources.group import Group


class Audit(Group):
    def newest(self, *, limit: int = 50, cursor: str | None = None) -> list[dict[str, Any]]:
        """The newest records first."""
        rows: list[dict[str, Any]] = self._call(get("/v1/audit", limit=limit, cursor=cursor))["data"]
        return rows

    def export(self) -> Iterator[bytes]:
        """Every line, as bytes in whatever pieces they come."""
        return self._stream(get("/v1/audit/export"))

    def checkpoints(self) -> Iterator[bytes]:
        return self._stream(get("/v1/audit/checkpoints"))

    def prove(self, record: str) -> answers.InclusionProof:
        """That a record is under the newest signed checkpoint, as a proof that stands alone."""
        proof: answers.InclusionProof = self._call(get(at("audit", "records", record, "proof")))
        return proof

    def consistency(self, earlier: int, later: int = 0) -> answers.ConsistencyProof:
        """That checkpoint `later`, 0 for the newest, continues `earlier`, as a proof that stands alone."""
        proof: answers.ConsistencyProof = self._call(get("/v1/audit/consistency", **{"from": earlier}, to=later))
        return proof

    def pin(self) -> str:
        """The checkpoint key, in the form people pin."""
        return str(self._call(get("/v1/audit/key"))["pin"])


class Keys(Group):
    def list(self) -> list[answers.SigningKey]:
        return self._listed("/v1/keys")

    def rotate(self, *, algorithm: str = "ES256") -> answers.SigningKey:
        key: answers.SigningKey = self._call(post("/v1/keys/rotate", algorithm=algorithm))
        return key

    def rotate_data(self) -> answers.DataKeyBegun:
        """A new key for what is sealed at rest, or the change that had not ended."""
        begun: answers.DataKeyBegun = self._call(post("/v1/data-keys/rotate"))
        return begun

    def reseal(self, *, cursor: str = "") -> answers.DataKeyResealed:
        """One step of that change; go on at the cursor until it is finished."""
        done: answers.DataKeyResealed = self._call(post("/v1/data-keys/reseal", cursor=cursor))
        return done
